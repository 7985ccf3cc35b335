// What Ray costs: the service in one process and on a local Ray beside each other, and many quiet sockets on one replica.
//
//   npm run build && npm run bench:ray -- [options]

import { parseArgs } from 'node:util';
import { ON_RAY, ServerProcess } from '../../test/server-process.ts';
import { speechClips } from '../capacity/clips.ts';
import { LoadGenerator } from '../capacity/load.ts';
import { parseCapacityOptions } from '../capacity/options.ts';
import { fixed, formatColumns } from '../capacity/table.ts';
import { benchPython, PythonWorker } from '../python.ts';
import { environmentOf, writeResult } from '../report.ts';
import { overheadRound, type Round } from './overhead.ts';
import { type ScaleReport, stepInLoad } from './scale.ts';
import { holdSockets, type SocketReport } from './sockets.ts';

const HELP = `npm run bench:ray -- [options]        (run npm run build first: both are started from dist/)

The same paced streams of real speech through the service in one process and on a local Ray, in turns: processor time, when words come,
and what the way to the recogniser costs a window; a step in load, until a second recogniser shares it; quiet sockets on one replica, with pings. Writes JSON into bench/results/.
Needs Linux, python3, PyPI, and the ports of a local Ray.

  --corpus FOLDER       folder with manifest.jsonl; may be given several times (default ../shared/corpus)
  --streams A,B         numbers of streams (default 1,8)
  --seconds N           audio of each (default 60)
  --rounds N            (default 2)
  --model NAME          (default base)
  --step N              streams that begin at once on one recogniser (default 20); 0: none
  --sockets N           quiet sockets (default 200); 0: none
  --socket-seconds N    (default 60)
  --out FILE            the JSON result (default bench/results/DATE-COMMIT-ray.json)
  --help`;

const progress = (text: string): void => void process.stderr.write(`${text}\n`);

async function quietSockets(
  count: number,
  seconds: number,
  model: string,
): Promise<SocketReport & { readonly cores: number; readonly idleCores: number }> {
  progress(`${count} sockets: starting`);
  const args = ['--model', model, '--server-replicas', '1'];
  const server = await ServerProcess.start({ entry: 'compiled', args, environment: { WHISPER_ADMIT_ALL: '1' }, ...ON_RAY });
  try {
    const usedBy = async (work: Promise<unknown>): Promise<number> => {
      const [cpuBefore, startMs] = [server.usage().cpuSeconds, performance.now()];
      await work;
      return Number(((server.usage().cpuSeconds - cpuBefore) / ((performance.now() - startMs) / 1000)).toFixed(3));
    };
    const idleCores = await usedBy(new Promise((resolve) => setTimeout(resolve, 10_000)));
    const holding = holdSockets(server.streamUrl, count, seconds);
    const cores = await usedBy(holding);
    return { ...(await holding), cores, idleCores };
  } finally {
    await server.stop();
  }
}

function showRounds(rounds: readonly Round[]): string {
  const rows = rounds.flatMap(({ idleCores, steps }, round) =>
    steps.map((step) => [
      `${round + 1}`,
      `${step.streams}`,
      `${step.sameText}`,
      fixed(step.hop.p50Ms, 1),
      fixed(step.hop.p99Ms, 1),
      fixed(step.laterMs.p50, 0),
      fixed(step.laterMs.p99, 0),
      fixed(step.ours.cpuPerAudioSecond, 3),
      fixed(step.ray.cpuPerAudioSecond, 3),
      fixed(step.cpuRatio, 2),
      fixed(step.cpuRatioWithoutIdle, 2),
      fixed(idleCores, 3),
      `${step.ours.residentMB}`,
      `${step.ray.residentMB}`,
    ]),
  );
  const headings = [
    'round',
    'N',
    'same',
    'hop p50 ms',
    'p99',
    'later p50 ms',
    'p99',
    'CPU s/s',
    'on Ray',
    'ratio',
    'less idle',
    'idle cores',
    'MB',
    'on Ray',
  ];
  return formatColumns([headings, ...rows]);
}

const showStep = ({
  decidedSeconds,
  gaps,
  lost,
  refused,
  runningSeconds,
  sharingSeconds,
  streams,
  wordFinalSeconds,
}: ScaleReport): string =>
  `${streams} streams at once: second recogniser wanted after ${fixed(decidedSeconds, 1)} s, there after ${fixed(runningSeconds, 1)} s, at work after ${fixed(sharingSeconds, 1)} s; ${refused} refused, ${lost} lost, ${gaps} gaps, words final p95 ${fixed(wordFinalSeconds.p95)} s`;

const showSockets = ({ lost, missedPongs, pings, pongMs, serverPings, sockets }: SocketReport): string =>
  `${sockets} sockets: ${lost} lost, ${pings} pings, ${missedPongs} pongs missed, pong p50 ${pongMs.p50} ms, p99 ${pongMs.p99} ms, max ${pongMs.max} ms; ${serverPings} pings of the other side`;

async function bench(): Promise<void> {
  const { values } = parseArgs({
    options: {
      corpus: { type: 'string', multiple: true },
      streams: { type: 'string', default: '1,8' },
      seconds: { type: 'string', default: '60' },
      rounds: { type: 'string', default: '2' },
      model: { type: 'string', default: 'base' },
      step: { type: 'string', default: '20' },
      sockets: { type: 'string', default: '200' },
      'socket-seconds': { type: 'string', default: '60' },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void console.log(HELP);
  const shared = ['--streams', values.streams, '--seconds', values.seconds, '--model', values.model];
  const parsed = parseCapacityOptions([...shared, ...(values.corpus ?? []).flatMap((folder) => ['--corpus', folder])]);
  if ('help' in parsed) return;
  const environment = await environmentOf({ ray: '2.60.0' });
  const python = new PythonWorker(await benchPython(), 'faster_whisper_worker.py');
  const generator = new LoadGenerator();
  try {
    const clips = await speechClips(parsed.options.corpora, python);
    const parts = { options: parsed.options, generator, clips, progress };
    const rounds: Round[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      rounds.push(await overheadRound(parts, round));
      progress(showRounds(rounds));
    }
    const step = Number(values.step) > 0 ? await stepInLoad(Number(values.step), parts) : null;
    if (step !== null) progress(showStep(step));
    const held = { count: Number(values.sockets), seconds: Number(values['socket-seconds']) };
    const sockets = held.count > 0 ? await quietSockets(held.count, held.seconds, values.model) : null;
    console.log([showRounds(rounds), step === null ? '' : showStep(step), sockets === null ? '' : showSockets(sockets)].join('\n\n'));
    const { corpus: _, out, help: __, ...settings } = values;
    console.log(await writeResult(out ?? null, 'ray', { environment, settings, rounds, step, sockets }));
  } finally {
    generator.close();
    python.close();
  }
}

await bench();

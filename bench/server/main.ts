// node --import tsx bench/server/main.ts: what a server's threads take of live streams, beside a recogniser that answers at once.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LoadGenerator } from '../capacity/load.ts';
import { jobOf, summarise } from '../capacity/step.ts';
import { clipsOfFolder, clipsOfRecording, ordersFor } from '../gpu/speech.ts';
import { environmentOf, writeResult } from '../report.ts';
import type { ProcessMessage, ThreadSeconds } from './process.ts';

const HELP = `node --import tsx bench/server/main.ts [options]

Sends paced streams over real sockets to a server whose recogniser answers at once, and says what the main thread, the speech detector's
and the others take of a second of a stream: the first to reach 1000 ms limits the process. Linux only.

  --streams A,B   numbers of streams, one after the other (default 8,32)
  --seconds N     of each stream (default 20)
  --speech DIR    what they say: .s16le files, mono, 16 kHz (default: the recording in docs/)
  --out FILE      (default bench/results/)`;

const DRAIN_SECONDS = 8;
/** The service's own. */
const CHUNKS = { chunkSeconds: 5, overlapSeconds: 0.5 } as const;

interface Point {
  readonly streams: number;
  /** Of a thread, for a second of a stream; `othersMs` of all others together. */
  readonly mainMs: number;
  readonly detectorMs: number;
  readonly othersMs: number;
  /** 1.1 where no partial is thinned out. */
  readonly windowsPerStreamSecond: number;
  readonly wordFinalP95Seconds: number | null;
  readonly lost: number;
}

async function messageOf<Kind extends ProcessMessage['kind']>(
  child: ChildProcess,
  kind: Kind,
): Promise<Extract<ProcessMessage, { kind: Kind }>> {
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the server ended with code ${code}`)));
  const [message] = (await Promise.race([once(child, 'message'), ended])) as [ProcessMessage];
  if (message.kind !== kind) throw new Error(`the server said ${message.kind} instead of ${kind}`);
  return message as Extract<ProcessMessage, { kind: Kind }>;
}

async function threadsOf(child: ChildProcess): Promise<ThreadSeconds> {
  const answer = messageOf(child, 'threads');
  child.send({});
  return (await answer).seconds;
}

async function measure(streams: number, seconds: number, clips: Awaited<ReturnType<typeof clipsOfFolder>>): Promise<Point> {
  const child = fork(fileURLToPath(new URL('process.ts', import.meta.url)), [], { execArgv: ['--import', 'tsx'] });
  const generator = new LoadGenerator();
  try {
    const { port } = await messageOf(child, 'ready');
    const system = {
      name: 'ours',
      url: `ws://127.0.0.1:${port}`,
      usage: () => ({ cpuSeconds: 0, residentBytes: 0 }),
      stop: async () => {},
    } as const;
    const orders = ordersFor(clips, streams, seconds, CHUNKS.chunkSeconds);
    const before = await threadsOf(child);
    const load = await generator.run(system, jobOf(CHUNKS, system, orders, { drainSeconds: DRAIN_SECONDS }));
    const after = await threadsOf(child);
    const { lost, wordFinalSeconds } = summarise('ours', load, []);
    const ofStream = (whose: keyof ThreadSeconds): number => (after[whose] - before[whose]) / (streams * seconds);
    return {
      streams,
      mainMs: 1000 * ofStream('main'),
      detectorMs: 1000 * ofStream('detector'),
      othersMs: 1000 * ofStream('others'),
      windowsPerStreamSecond: ofStream('windows'),
      wordFinalP95Seconds: wordFinalSeconds.p95,
      lost,
    };
  } finally {
    generator.close();
    child.disconnect();
  }
}

const { values } = parseArgs({
  options: {
    streams: { type: 'string', default: '8,32' },
    seconds: { type: 'string', default: '20' },
    speech: { type: 'string' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const counts = values.streams.split(',').map(Number);
const seconds = Number(values.seconds);
if (values.help) console.log(HELP);
else if (![...counts, seconds].every((value) => Number.isInteger(value) && value > 0)) {
  console.error('error: --streams and --seconds are whole numbers above 0');
  process.exitCode = 1;
} else {
  const environment = await environmentOf({});
  const dir = await mkdtemp(join(tmpdir(), 'bench-server-'));
  try {
    const clips = values.speech === undefined ? await clipsOfRecording('sources', dir) : await clipsOfFolder(values.speech);
    const points: Point[] = [];
    for (const count of counts) {
      console.error(`${count} streams, ${seconds} s`);
      points.push(await measure(count, seconds, clips));
    }
    console.table(
      points.map((point) => Object.fromEntries(Object.entries(point).map(([name, value]) => [name, value && Number(value.toFixed(2))]))),
    );
    console.log(await writeResult(values.out ?? null, 'server', { environment, seconds, points }));
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

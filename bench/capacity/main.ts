// npm run bench:capacity: how many live streams the service holds, beside its peers; what it does under overload and over a long time.

import { writeFile } from 'node:fs/promises';
import { benchPython, PythonWorker } from '../python.ts';
import { environmentOf, writeResult } from '../report.ts';
import { speechClips } from './clips.ts';
import { largestHeld, latencyBoundSeconds } from './hold.ts';
import { climb, type HeldStep, type LadderParts } from './ladder.ts';
import { LoadGenerator } from './load.ts';
import { type CapacityOptions, isService, parseCapacityOptions, type SystemName } from './options.ts';
import { formatOverload, runOverload } from './overload.ts';
import { plotSoak, plotSteps } from './plot.ts';
import { formatSoak, runSoak } from './soak.ts';
import { referenceModelFolder, type SystemParts, whisperLivePython } from './systems.ts';
import { formatStep, formatSteps } from './table.ts';

const progress = (text: string): void => console.error(text);

/** What a machine that does nothing else uses for itself, with a margin. */
const QUIET_CPU_PER_SECOND = 0.1;

type Environment = Awaited<ReturnType<typeof environmentOf>>;

interface Finished {
  readonly name: string;
  readonly screen: string;
  readonly json: Record<string, unknown>;
  readonly svg: string | null;
}

const machineLine = ({ machine }: Environment, { model, threads, seconds, chunkSeconds, overlapSeconds }: CapacityOptions): string => {
  const { cpu, cores } = machine as { cpu?: string; cores: number };
  return `${model}, int8, ${threads} threads, chunk ${chunkSeconds} s, overlap ${overlapSeconds} s, ${seconds} s a stream; ${cores} cores, ${cpu ?? 'unknown'}`;
};

async function steps(parts: LadderParts, notInstalled: Readonly<Record<string, string>>, subtitle: string): Promise<Finished> {
  const { options } = parts;
  const names = options.systems.filter((name) => !(name in notInstalled));
  const { steps: results, leftOut: failed } = await climb(names, parts, (step) => progress(formatStep(step)));
  const leftOut = { ...notInstalled, ...failed };
  const held = Object.fromEntries(names.map((name) => [name, largestHeld(results.filter(({ system }) => system === name))]));
  const bound = latencyBoundSeconds(options.chunkSeconds);
  const lines = [
    formatSteps(results),
    ...Object.entries(held).map(([name, count]) => {
      const tried = Math.max(...results.filter(({ system }) => system === name).map(({ streams }) => streams));
      return `largest N held by ${name}: ${count}${count === tried ? ', and no more were tried' : ''}`;
    }),
    ...Object.entries(leftOut).map(([name, reason]) => `${name}: left out: ${reason}`),
  ];
  const othersMost = Math.max(0, ...results.map(({ othersCpuPerSecond }) => othersCpuPerSecond));
  if (othersMost > QUIET_CPU_PER_SECOND)
    lines.push(`the machine was not quiet: others used up to ${othersMost.toFixed(2)} cores; repeat the run`);
  const peers = Object.entries(held).filter(([name]) => !isService(name));
  const best = Math.max(...peers.map(([, count]) => count));
  if (held.ours !== undefined && best > 0) lines.push(`ours over the best peer: ${(held.ours / best).toFixed(1)}`);
  return {
    name: 'capacity',
    screen: lines.join('\n'),
    json: {
      rule: ruleOf(options),
      held,
      leftOut,
      steps: results.map(({ errors, ...step }: HeldStep) => ({ ...step, streamErrors: errors })),
    },
    svg: await plotSteps(results, bound, subtitle),
  };
}

const ruleOf = ({ chunkSeconds }: CapacityOptions): string =>
  `nobody refused or lost, p95 of word-final latency below ${latencyBoundSeconds(chunkSeconds)} s, WER within 0.5 points of the same streams each alone`;

async function soak(parts: LadderParts, subtitle: string): Promise<Finished> {
  const result = await runSoak(parts);
  const points = result.minutes.map(({ minute, wordFinalSeconds: { p50, p95 }, residentMB }) => ({ minute, p50, p95, residentMB }));
  const screen = `${formatSoak(result)}\n${formatSteps([result.total])}`;
  return { name: 'soak', screen, json: { ...result }, svg: await plotSoak(points, `${result.total.streams} streams; ${subtitle}`) };
}

/** WhisperLive is left out with its reason where it does not install. */
async function peersOf(options: CapacityOptions, python: string): Promise<{ systems: SystemParts; leftOut: Record<string, string> }> {
  const leftOut: Record<string, string> = {};
  let whisperLive: string | null = null;
  if (options.mode === 'steps' && options.systems.includes('whisperlive')) {
    progress('WhisperLive (at the first run it is installed)');
    whisperLive = await whisperLivePython().catch((error: Error) => {
      leftOut.whisperlive = `not installed: ${error.message.trim().split('\n').at(-1)}`;
      return null;
    });
  }
  const needsModel = options.mode === 'steps' && options.systems.some((name: SystemName) => !isService(name));
  const modelFolder = needsModel ? await referenceModelFolder(options) : '';
  return { systems: { options, python, whisperLivePython: whisperLive, modelFolder }, leftOut };
}

async function bench(options: CapacityOptions): Promise<void> {
  progress('Python environment');
  const python = await benchPython();
  const environment = await environmentOf({ 'faster-whisper': '1.2.1', 'whisper-live': '0.10.0' });
  const { systems, leftOut } = await peersOf(options, python);
  const decoder = new PythonWorker(python, 'faster_whisper_worker.py');
  const scorer = new PythonWorker(python, 'score.py');
  const generator = new LoadGenerator();
  try {
    const clips = await speechClips(options.corpora, decoder).finally(() => decoder.close());
    const parts: LadderParts = { options, systems, generator, scorer, clips, progress };
    const subtitle = machineLine(environment, options);
    let finished: Finished;
    if (options.mode === 'steps') finished = await steps(parts, leftOut, subtitle);
    else if (options.mode === 'soak') finished = await soak(parts, subtitle);
    else {
      const result = await runOverload(parts);
      finished = { name: 'overload', screen: formatOverload(result), json: { ...result }, svg: null };
    }
    console.log(finished.screen);
    const { corpora: _, referenceModel: __, out: ___, ...settings } = options;
    const path = await writeResult(options.out, finished.name, { environment, settings, ...finished.json });
    console.log(path);
    if (finished.svg === null) return;
    const plot = `${path.replace(/\.json$/, '')}.svg`;
    await writeFile(plot, `${finished.svg}\n`);
    console.log(plot);
  } finally {
    generator.close();
    scorer.close();
    decoder.close();
  }
}

const parsed = parseCapacityOptions(process.argv.slice(2));
if ('help' in parsed) console.log(parsed.help);
else await bench(parsed.options);

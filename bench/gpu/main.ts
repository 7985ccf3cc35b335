// bench/gpu.sh: what a device makes of the models. Every stage gets its part of the time, and what is known is written after each.

import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultCacheDir, modelAccess } from '../../src/cli/environment.ts';
import { locateModel } from '../../src/model/locate.ts';
import { environmentOf } from '../report.ts';
import { grantSeconds } from './budget.ts';
import { readGpu } from './machine.ts';
import { type GpuOptions, parseGpuOptions } from './options.ts';
import { Results } from './results.ts';
import { type RunParts, type RunStage, stagesOf } from './stages.ts';
import { formatResults } from './tables.ts';

/** Kept for what comes after the last stage. */
const END_SECONDS = 4;
const EXIT_FAILED = 1;
const EXIT_INTERRUPTED = 130;

/** Published weights, which only base is looked for: other sizes are random. Null where there are none on this machine. */
async function findBase({ modelDir, models }: GpuOptions): Promise<string | null> {
  if (modelDir !== null || !models.includes('base')) return modelDir;
  const cacheDir = process.env.WHISPER_CACHE || defaultCacheDir();
  return locateModel('base', { cacheDir, ...modelAccess(), download: false }).then(
    ({ dir }) => dir,
    () => null,
  );
}

async function run(options: GpuOptions): Promise<void> {
  const startMs = performance.now();
  const secondsLeft = (): number => options.budgetSeconds - END_SECONDS - (performance.now() - startMs) / 1000;
  const progress = (text: string): void =>
    void process.stderr.write(`[${Math.max(0, secondsLeft()).toFixed(0).padStart(4)} s left] ${text}\n`);
  if (options.modelDir !== null && !existsSync(options.modelDir)) throw new Error(`--model-dir ${options.modelDir}: is not there`);
  const stopping = new AbortController();
  let isInterrupted = false;
  const interrupt = (): void => {
    isInterrupted = true;
    stopping.abort();
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const deadline = setTimeout(() => stopping.abort(), options.budgetSeconds * 1000 - (END_SECONDS * 1000) / 2);
  const workDir = await mkdtemp(join(tmpdir(), 'whisper-gpu-'));
  try {
    const [gpu, baseDir, environment] = await Promise.all([readGpu(), findBase(options), environmentOf({})]);
    const results = new Results(options, environment, gpu);
    const parts: RunParts = { options, baseDir, workDir, results, progress, signal: stopping.signal };
    await runStages(stagesOf(parts), parts, secondsLeft);
    console.log(formatResults(results.all()));
    for (const path of await written(results)) console.log(path);
    if (isInterrupted) process.exitCode = EXIT_INTERRUPTED;
    else if (!results.hasFigures) process.exitCode = EXIT_FAILED;
  } finally {
    clearTimeout(deadline);
    await rm(workDir, { recursive: true, force: true });
  }
}

/** The JSON, and beside it a plot where there is something to draw and the library that draws it. */
async function written(results: Results): Promise<string[]> {
  const path = await results.write();
  const svg = await import('./plot.ts').then(({ plotScaling }) => plotScaling(results.all())).catch(() => null);
  if (svg === null) return [path];
  const plot = path.replace(/\.json$/, '.svg');
  await writeFile(plot, `${svg}\n`);
  return [path, plot];
}

async function runStages(stages: readonly RunStage[], { progress, results, signal }: RunParts, secondsLeft: () => number): Promise<void> {
  for (const [at, stage] of stages.entries()) {
    const { name, wantedSeconds } = stage;
    const grantedSeconds = signal.aborted ? null : grantSeconds(stages.slice(at), secondsLeft());
    if (grantedSeconds === null) {
      results.stages.push({ name, wantedSeconds, grantedSeconds, seconds: 0, problem: 'left out: no time was left' });
      progress(`${name}: left out`);
      continue;
    }
    progress(`${name}: ${grantedSeconds.toFixed(0)} s`);
    const startMs = performance.now();
    const problem = await stage.run(grantedSeconds).catch((error: Error) => error.message);
    const seconds = (performance.now() - startMs) / 1000;
    results.stages.push({ name, wantedSeconds, grantedSeconds, seconds, problem });
    if (problem !== null) progress(`${name}: ${problem}`);
    await results.write();
  }
}

try {
  await run(parseGpuOptions(process.argv.slice(2), process.env.OUT));
} catch (error) {
  console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = EXIT_FAILED;
}

// What a batch of windows takes, by its size, and what a step of the decoder takes of it: the session alone, without queue and engine.

import { availableParallelism } from 'node:os';
import type { DecodeJob } from '../../src/engine/decode.ts';
import type { EncodedJob, WindowSession } from '../../src/engine/window-session.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { createRandom } from '../autoscaling/random.ts';
import { SAMPLE_RATE } from '../capacity/plan.ts';
import { quantile } from '../score.ts';
import { type ModelJob, START_TOKENS, windowGraph } from './model-folder.ts';
import { product } from './product.ts';
import { TEXT_TOKENS } from './random-tokenizer.ts';

const SAMPLES_PER_POSITION = 320;

/** Every window of every batch: the largest that live streams send, with the service's silent margin behind it. */
export const SCALING_WINDOW = { audioSeconds: 10, marginSeconds: 3, prefixTokens: 12, tokens: 22 } as const;
export const POSITIONS = ((SCALING_WINDOW.audioSeconds + SCALING_WINDOW.marginSeconds) * SAMPLE_RATE) / SAMPLES_PER_POSITION;
export const FORCED_TOKENS = START_TOKENS + SCALING_WINDOW.prefixTokens;

/** Of one kind of run; fewer where a run is long. */
const [LEAST_RUNS, MOST_RUNS, RUNS_SECONDS] = [3, 10, 1] as const;

export interface ScalingJob extends ModelJob {
  readonly stage: 'scaling';
  /** Rising. */
  readonly batches: readonly number[];
  readonly seconds: number;
}

export interface ScalingPoint {
  readonly kind: 'scaling';
  readonly batch: number;
  /** Of each kind; medians are told. */
  readonly runs: number;
  /** From audio to texts of SCALING_WINDOW.tokens. */
  readonly runMs: number;
  /** From audio to the first token: log-mel, encoder, forced tokens. */
  readonly firstTokenMs: number;
  /** What the other tokens took, over their number; null where the runs differ by less than they vary. */
  readonly stepMs: number | null;
  readonly steps: number;
  readonly windowMs: number;
  readonly windowsPerSecond: number;
}

export type ScalingReport =
  | { readonly kind: 'loaded'; readonly seconds: number; readonly config: ModelConfig }
  | ScalingPoint
  /** Larger batches were not measured. */
  | { readonly kind: 'stopped'; readonly batch: number; readonly reason: string };

export async function measureScaling(job: ScalingJob, report: (line: ScalingReport) => void): Promise<void> {
  const startMs = performance.now();
  const secondsLeft = (): number => job.seconds - (performance.now() - startMs) / 1000;
  const { path, config } = await windowGraph(job);
  const { WindowSession } = await product(job.from, 'engine/window-session');
  const session = await WindowSession.load(path, config, job.device, job.device === 'cpu' ? availableParallelism() : 1);
  report({ kind: 'loaded', seconds: (performance.now() - startMs) / 1000, config });
  let before: ScalingPoint | null = null;
  for (const batch of job.batches) {
    // Twice as large a batch takes twice as long at most, without its first run, which compiles.
    const expectedMs: number = before === null ? 0 : (LEAST_RUNS * before.runMs * batch) / before.batch;
    if (expectedMs > secondsLeft() * 1000) {
      report({ kind: 'stopped', batch, reason: 'no time was left' });
      break;
    }
    try {
      before = await measureBatch(session, config, batch, secondsLeft);
      report(before);
    } catch (error) {
      report({ kind: 'stopped', batch, reason: error instanceof Error ? error.message.slice(0, 300) : String(error) });
      break;
    }
  }
  await session.close();
}

async function measureBatch(session: WindowSession, config: ModelConfig, batch: number, secondsLeft: () => number): Promise<ScalingPoint> {
  const run = async (limit: number): Promise<{ ms: number; steps: number }> => {
    const windows = windowsOf(config, batch, limit);
    const startMs = performance.now();
    // No token ends these texts, so that all are equally long.
    const { steps, texts } = await session.decode(windows, { beams: 1, endOfText: -1, noSpeech: TEXT_TOKENS });
    const ms = performance.now() - startMs;
    for (const text of texts) {
      if (text.tokens.length !== limit) throw new Error(`a text has ${text.tokens.length} tokens instead of ${limit}`);
      if (![...text.logProbabilities, text.noSpeechProbability].every(Number.isFinite)) throw new Error('a probability is not a number');
    }
    return { ms, steps };
  };
  const { tokens } = SCALING_WINDOW;
  // The first run of a shape compiles and allocates.
  const first = await run(tokens);
  const usual = Math.min(MOST_RUNS, Math.max(LEAST_RUNS, Math.floor((RUNS_SECONDS * 1000) / first.ms)));
  const runs = Math.max(1, Math.min(usual, Math.floor((secondsLeft() * 1000) / (2 * first.ms))));
  const whole: number[] = [];
  const short: number[] = [];
  let steps = 0;
  for (let i = 0; i < runs; i++) {
    const long = await run(tokens);
    steps = long.steps;
    whole.push(long.ms);
    short.push((await run(1)).ms);
  }
  const [runMs, firstTokenMs] = [quantile(whole, 0.5), quantile(short, 0.5)];
  return {
    kind: 'scaling',
    batch,
    runs,
    runMs,
    firstTokenMs,
    stepMs: runMs > firstTokenMs ? (runMs - firstTokenMs) / steps : null,
    steps,
    windowMs: runMs / batch,
    windowsPerSecond: (1000 * batch) / runMs,
  };
}

function windowsOf({ vocabularySize }: ModelConfig, batch: number, limit: number): EncodedJob[] {
  const random = createRandom(batch);
  const mask = new Float32Array(vocabularySize);
  const job = (): DecodeJob => ({
    initial: Array.from({ length: FORCED_TOKENS }, () => random.index(TEXT_TOKENS)),
    startIndex: 0,
    alignIndex: START_TOKENS - 1,
    mask,
    firstMask: mask,
    limit,
    temperature: 0,
    random: () => 0,
    cancelled: () => false,
  });
  return Array.from({ length: batch }, () => ({ pcm: noiseWindow(random.between(0.01, 0.3)), job: job() }));
}

/** Sound of any kind will do: what a model makes of it takes as long. */
function noiseWindow(loudness: number): Float32Array {
  const pcm = new Float32Array(POSITIONS * SAMPLES_PER_POSITION);
  const samples = SCALING_WINDOW.audioSeconds * SAMPLE_RATE;
  for (let i = 0; i < samples; i++) pcm[i] = loudness * Math.sin(i * (0.1 + i * 1e-7));
  return pcm;
}

// Live streams at the engine's own door: recorded windows come at the times at which sessions would send them, more and more of them.

import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { WindowObservation } from '../../src/engine/local-transcriber.ts';
import type { TranscribeRequest, Transcriber } from '../../src/engine/transcriber.ts';
import { createRandom } from '../autoscaling/random.ts';
import { type Quantiles, quantiles } from '../capacity/latency.ts';
import { SAMPLE_RATE } from '../capacity/plan.ts';
import { nextCount, type Rung } from './ladder.ts';
import { graphsDir, type ModelJob, modelFolder, TEXT_LENGTH } from './model-folder.ts';
import { product } from './product.ts';
import { type RecordedWindow, readRecording } from './recorded.ts';

/** A rung's first seconds fill the queue and count for nothing. */
const WARM_UP_SECONDS = 4;
/** So long after its last window nobody waits for the rest; a window that has waited so long shows that a rung is lost. */
const PATIENCE_SECONDS = 6;
const POLL_MS = 200;

export interface ReplayJob extends ModelJob {
  readonly stage: 'replay';
  readonly engines: number | null;
  readonly maxBatch: number | null;
  /** MiB that all engines may take together; null: what the driver says is free, as the service takes it. */
  readonly deviceMemory: number | null;
  readonly start: number;
  readonly most: number;
  readonly rungSeconds: number;
  /** p95 of word-final latency has to stay below it. */
  readonly boundSeconds: number;
  readonly seconds: number;
}

export interface ReplayRung extends Rung {
  readonly kind: 'rung';
  readonly windows: number;
  /** From when a window's audio was there to its text. */
  readonly windowSeconds: Quantiles;
  /** The same and the age of each of its words: from the word's last sample to its final. */
  readonly wordFinalSeconds: Quantiles;
  readonly refused: number;
  readonly failed: number;
  /** That were not answered in time, and count as if they were at the rung's end. */
  readonly unanswered: number;
  /** Windows that a pass of the decoder had, mean over windows. */
  readonly meanBatch: number;
  readonly meanTokens: number;
  readonly outOfMemory: number;
}

export type ReplayReport =
  | { readonly kind: 'loaded'; readonly seconds: number; readonly engines: number; readonly deviceMemoryMiB: number | null }
  | ReplayRung
  | { readonly kind: 'stopped'; readonly streams: number; readonly reason: string };

/** Nothing of a random model's text is doubtful, repeated or unlikely: every window is decoded once. */
const ACCEPT_ALL = {
  compressionRatioThreshold: Number.POSITIVE_INFINITY,
  logProbabilityThreshold: Number.NEGATIVE_INFINITY,
  beamThreshold: Number.NEGATIVE_INFINITY,
} as const;

export async function measureReplay(job: ReplayJob, report: (line: ReplayReport) => void): Promise<void> {
  const startMs = performance.now();
  const secondsLeft = (): number => job.seconds - (performance.now() - startMs) / 1000;
  const { createTranscriber } = await product(job.from, 'engine/create');
  const { usableGpuMemory } = await product(job.from, 'cli/device-memory');
  const deviceMemoryMiB =
    job.device === 'cuda' ? (job.deviceMemory ?? (await usableGpuMemory(process.env.CUDA_VISIBLE_DEVICES)) ?? null) : job.deviceMemory;
  let tally = new Tally();
  const transcriber = await createTranscriber({
    modelDir: modelFolder(job),
    modelName: job.model,
    graphsDir: graphsDir(job),
    device: job.device,
    precision: job.precision,
    rules: ACCEPT_ALL,
    // A window that is late shall be counted, not refused.
    maxQueue: 100_000,
    ...(job.engines !== null && { engines: job.engines }),
    ...(job.maxBatch !== null && { maxBatch: job.maxBatch }),
    ...(deviceMemoryMiB !== null && { deviceMemoryBytes: deviceMemoryMiB * 2 ** 20 }),
    onWindow: (window) => tally.window(window),
    onOutOfMemory: () => tally.ranOut(),
  });
  try {
    report({ kind: 'loaded', seconds: (performance.now() - startMs) / 1000, engines: transcriber.load().engines, deviceMemoryMiB });
    const rungs: ReplayRung[] = [];
    for (;;) {
      const streams = nextCount(rungs, job.start, job.most);
      if (streams === null) break;
      if (job.rungSeconds + PATIENCE_SECONDS > secondsLeft()) {
        report({ kind: 'stopped', streams, reason: 'no time was left' });
        break;
      }
      tally = new Tally();
      const rung = await runRung(transcriber, streams, job, tally);
      rungs.push(rung);
      report(rung);
    }
  } finally {
    await transcriber.close();
  }
}

/** What the engines say of their windows. */
class Tally {
  outOfMemory = 0;
  #windows = 0;
  #rows = 0;
  #tokens = 0;

  window({ cost }: WindowObservation): void {
    if (cost === null) return;
    this.#windows++;
    this.#rows += cost.batchRows;
    this.#tokens += cost.tokens;
  }

  ranOut(): void {
    this.outOfMemory++;
  }

  get meanBatch(): number {
    return this.#windows === 0 ? 0 : this.#rows / this.#windows;
  }

  get meanTokens(): number {
    return this.#windows === 0 ? 0 : this.#tokens / this.#windows;
  }
}

/** What came of a rung, as it comes. */
interface Outcome {
  readonly windowSeconds: number[];
  readonly wordSeconds: number[];
  refused: number;
  failed: number;
  unanswered: number;
}

async function runRung(transcriber: Transcriber, streams: number, job: ReplayJob, tally: Tally): Promise<ReplayRung> {
  const outcome: Outcome = { windowSeconds: [], wordSeconds: [], refused: 0, failed: 0, unanswered: 0 };
  const ending = new AbortController();
  // One listener a stream.
  setMaxListeners(0, ending.signal);
  const startMs = performance.now();
  const waitingSinceMs = new Set<{ readonly dueMs: number }>();
  const oldestSeconds = (): number => {
    const [oldest] = waitingSinceMs;
    return oldest === undefined ? 0 : (performance.now() - oldest.dueMs) / 1000;
  };
  const playing = Array.from({ length: streams }, (_, stream) => play(stream));

  async function play(stream: number): Promise<void> {
    for (const { dueSeconds, window } of schedule(stream, job.rungSeconds)) {
      const dueMs = startMs + dueSeconds * 1000;
      await delay(Math.max(0, dueMs - performance.now()), undefined, { signal: ending.signal }).catch(() => undefined);
      if (ending.signal.aborted) return;
      const counts = dueSeconds >= WARM_UP_SECONDS;
      const waiting = { dueMs };
      if (counts) waitingSinceMs.add(waiting);
      const answered = await ask(transcriber, window, ending.signal, outcome);
      waitingSinceMs.delete(waiting);
      if (!counts) continue;
      if (!answered && ending.signal.aborted) outcome.unanswered++;
      const seconds = (performance.now() - dueMs) / 1000;
      outcome.windowSeconds.push(seconds);
      for (const age of window.wordAges) outcome.wordSeconds.push(age + seconds);
    }
  }

  const done = Promise.all(playing);
  let isDone = false;
  void done.then(() => {
    isDone = true;
  });
  while (!isDone && oldestSeconds() < PATIENCE_SECONDS) await delay(POLL_MS);
  ending.abort();
  await done;
  const wordFinalSeconds = quantiles(outcome.wordSeconds);
  const { failed, refused, unanswered, windowSeconds } = outcome;
  const isWhole = failed === 0 && refused === 0 && unanswered === 0;
  return {
    kind: 'rung',
    streams,
    inTime: isWhole && wordFinalSeconds.p95 !== null && wordFinalSeconds.p95 < job.boundSeconds,
    windows: windowSeconds.length,
    windowSeconds: quantiles(windowSeconds),
    wordFinalSeconds,
    refused,
    failed,
    unanswered,
    meanBatch: tally.meanBatch,
    meanTokens: tally.meanTokens,
    outOfMemory: tally.outOfMemory,
  };
}

async function ask(transcriber: Transcriber, window: RecordedWindow, signal: AbortSignal, outcome: Outcome): Promise<boolean> {
  try {
    await transcriber.transcribe(requestOf(window), signal);
    return true;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'overloaded') outcome.refused++;
    else if (code !== 'cancelled') outcome.failed++;
    return false;
  }
}

/** As a session asks for it. The text is as long as the recorded one, for a random model ends it with TEXT_LENGTH tokens in all. */
export function requestOf({ prefixSeconds, seconds, tokens }: RecordedWindow): TranscribeRequest {
  const prefixTokens = TEXT_LENGTH - Math.min(TEXT_LENGTH, Math.max(1, tokens));
  return {
    pcm: noise.subarray(0, Math.round(seconds * SAMPLE_RATE)),
    language: 'en',
    prefix: Array.from({ length: prefixTokens }, (_, i) => 1000 + 97 * i),
    prefixSamples: Math.round(prefixSeconds * SAMPLE_RATE),
  };
}

const LONGEST_SECONDS = 30;
const noise = Float32Array.from({ length: LONGEST_SECONDS * SAMPLE_RATE }, (_, i) => 0.1 * Math.sin(i * (0.1 + i * 1e-7)));

const recording = readRecording();

/** One recorded stream played round and round, from a place of its own: no two streams are in step. */
export function* schedule(stream: number, seconds: number): Generator<{ dueSeconds: number; window: RecordedWindow }> {
  const windows = recording.streams[stream % recording.streams.length]!;
  const last = windows.at(-1)!.atSeconds;
  const lengthSeconds = last + last / windows.length;
  const from = createRandom(stream + 1).between(0, lengthSeconds);
  for (let round = 0; ; round++) {
    for (const window of windows) {
      const dueSeconds = window.atSeconds + round * lengthSeconds - from;
      if (dueSeconds >= seconds) return;
      if (dueSeconds >= 0) yield { dueSeconds, window };
    }
  }
}

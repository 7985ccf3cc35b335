// One step: so many paced streams at once on a fresh server, and what came of them.

import type { PythonWorker } from '../python.ts';
import type { GeneratorJob, StreamOrder } from './generator-messages.ts';
import { type Quantiles, quantiles } from './latency.ts';
import { type LoadGenerator, type LoadReport, peakResidentMB, usedBetween } from './load.ts';
import type { CapacityOptions, SystemName } from './options.ts';
import { type PcmClip, planStream, type StreamPlan, staggerMs } from './plan.ts';
import type { RunningSystem } from './systems.ts';
import { countErrors, type ErrorCount, pooledPercent } from './wer.ts';

const DRAIN_SECONDS = 60;
const WARM_UP_SECONDS = 8;

export interface StepResult {
  readonly system: SystemName;
  readonly streams: number;
  readonly audioSeconds: number;
  /** Null where no stream was served. */
  readonly werPercent: number | null;
  /** By stream; null where it was not served to its end. */
  readonly errors: readonly (ErrorCount | null)[];
  readonly wordFinalSeconds: Quantiles;
  readonly firstTextSeconds: Quantiles;
  /** For each second of audio. */
  readonly partialsPerSecond: number;
  readonly cpuPerAudioSecond: number;
  readonly residentPeakMB: number;
  readonly refused: number;
  readonly refusalMs: Quantiles;
  readonly lost: number;
  /** Why, each once. */
  readonly failures: readonly string[];
  /** Null where the protocol does not say what its answers cover. */
  readonly gaps: number | null;
  readonly generator: { readonly cpuSeconds: number; readonly lateP95Ms: number; readonly lateMaxMs: number };
  /** Processor seconds of everything else on the machine, for each second of time. */
  readonly othersCpuPerSecond: number;
}

export const jobOf = (
  options: Pick<CapacityOptions, 'chunkSeconds' | 'overlapSeconds'>,
  system: RunningSystem,
  streams: readonly StreamOrder[],
  more: Partial<GeneratorJob> = {},
): GeneratorJob => ({
  system: system.name,
  url: system.url,
  chunkSeconds: options.chunkSeconds,
  overlapSeconds: options.overlapSeconds,
  interimResults: true,
  streams,
  pace: 1,
  afterRefusalSeconds: null,
  drainSeconds: DRAIN_SECONDS,
  ...more,
});

/** A short stream that counts for nothing: no first stream pays for what is loaded at the first request. */
export async function warmUp(
  generator: LoadGenerator,
  options: CapacityOptions,
  system: RunningSystem,
  clips: readonly PcmClip[],
): Promise<void> {
  const plan = planStream(clips, 0, WARM_UP_SECONDS);
  const job = jobOf(options, system, [{ plan, connectAfterMs: 0, audioAfterMs: 0 }], { drainSeconds: 120 });
  const { streams } = await generator.run(system, job);
  if (streams[0]?.state !== 'done')
    throw new Error(`${system.name}: the first stream was ${streams[0]?.state}: ${streams[0]?.failure ?? ''}`);
}

/** When the last text came; where none did, when the generator was done. */
export const lastTextMs = (load: LoadReport): number =>
  Math.max(...load.streams.map((stream) => stream.lastTextMs ?? 0)) || load.usage.at(-1)!.atMs;

export async function runStep(parts: {
  readonly generator: LoadGenerator;
  readonly options: CapacityOptions;
  readonly system: RunningSystem;
  readonly plans: readonly StreamPlan[];
  readonly scorer: PythonWorker;
  readonly progress: (text: string) => void;
}): Promise<StepResult> {
  const { generator, options, system, plans, scorer, progress } = parts;
  const offsets = staggerMs(plans.length, options.chunkSeconds);
  const orders = plans.map((plan, index) => ({ plan, connectAfterMs: offsets[index]!, audioAfterMs: offsets[index]! }));
  const name = `${system.name} ${plans.length} stream${plans.length === 1 ? '' : 's'}`;
  const load = await generator.run(system, jobOf(options, system, orders), (seconds) => progress(`${name}: ${seconds} s`));
  const errors: (ErrorCount | null)[] = [];
  for (const [index, { state, text }] of load.streams.entries()) {
    errors.push(state === 'done' ? await countErrors(scorer, plans[index]!, text) : null);
  }
  return summarise(system.name, load, errors);
}

export function summarise(system: SystemName, load: LoadReport, errors: readonly (ErrorCount | null)[]): StepResult {
  const { streams, usage } = load;
  const audioSeconds = streams.reduce((sum, stream) => sum + stream.audioSeconds, 0);
  const endMs = lastTextMs(load);
  const used = usedBetween(usage, load.startedMs, endMs);
  const known = streams.flatMap(({ gaps }) => (gaps === null ? [] : [gaps]));
  const wallSeconds = (endMs - load.startedMs) / 1000;
  const round = (value: number, digits: number): number => Number(value.toFixed(digits));
  return {
    system,
    streams: streams.length,
    audioSeconds: round(audioSeconds, 3),
    werPercent: pooledPercent(errors.filter((count) => count !== null)),
    errors,
    wordFinalSeconds: quantiles(streams.flatMap(({ wordLatencySeconds }) => wordLatencySeconds)),
    firstTextSeconds: quantiles(streams.flatMap(({ firstTextSeconds }) => (firstTextSeconds === null ? [] : [firstTextSeconds]))),
    partialsPerSecond: audioSeconds === 0 ? 0 : round(streams.reduce((sum, { partials }) => sum + partials, 0) / audioSeconds, 3),
    cpuPerAudioSecond: audioSeconds === 0 ? 0 : round(used.cpuSeconds / audioSeconds, 4),
    residentPeakMB: peakResidentMB(usage),
    refused: streams.filter(({ state }) => state === 'refused').length,
    refusalMs: quantiles(
      streams.flatMap(({ refusal }) => (refusal === null ? [] : [refusal.afterMs])),
      1,
    ),
    lost: streams.filter(({ state }) => state === 'lost').length,
    failures: [...new Set(streams.flatMap(({ failure }) => (failure === null ? [] : [failure])))],
    gaps: known.length === 0 ? null : known.reduce((sum, gaps) => sum + gaps, 0),
    generator: { cpuSeconds: round(load.cpuSeconds, 2), lateP95Ms: round(load.lateMs.p95, 1), lateMaxMs: round(load.lateMs.max, 1) },
    othersCpuPerSecond: round(Math.max(0, used.busySeconds - used.cpuSeconds - load.cpuSeconds) / wallSeconds, 3),
  };
}

// --soak: the same number of streams for a long time, looked at minute by minute.

import { type LadderParts, withSystem } from './ladder.ts';
import { type Quantiles, quantiles, slope } from './latency.ts';
import { type LoadReport, usedBetween } from './load.ts';
import { planStream, staggerMs } from './plan.ts';
import { jobOf, type StepResult, summarise } from './step.ts';
import { fixed, formatColumns } from './table.ts';
import { countErrors, type ErrorCount } from './wer.ts';

const MINUTE_MS = 60_000;
/** At each end, for the comparison. */
const EDGE_MINUTES = 5;

export interface Minute {
  readonly minute: number;
  /** Of the words that came in it. */
  readonly wordFinalSeconds: Quantiles;
  readonly residentMB: number;
  /** For each second of audio of all streams. */
  readonly cpuPerAudioSecond: number;
}

export interface SoakResult {
  readonly total: StepResult;
  readonly minutes: readonly Minute[];
  /** Means over the first and the last minutes; the first of all, in which the streams begin, is left out where there are enough. */
  readonly p95Seconds: { readonly first: number; readonly last: number; readonly perHour: number };
  readonly residentMB: { readonly first: number; readonly last: number; readonly perHour: number };
}

/** Whole minutes only. */
export function minutesOf(load: LoadReport, streams: number): Minute[] {
  const endMs = load.usage.at(-1)!.atMs;
  const count = Math.max(1, Math.floor((endMs - load.startedMs) / MINUTE_MS));
  const latencies: number[][] = Array.from({ length: count }, () => []);
  for (const { wordLatencySeconds, wordReceivedMs } of load.streams) {
    for (const [index, receivedMs] of wordReceivedMs.entries()) {
      latencies[Math.floor((receivedMs - load.startedMs) / MINUTE_MS)]?.push(wordLatencySeconds[index]!);
    }
  }
  return latencies.map((values, minute) => {
    const fromMs = load.startedMs + minute * MINUTE_MS;
    const toMs = Math.min(endMs, fromMs + MINUTE_MS);
    const sample = load.usage.findLast(({ atMs }) => atMs <= toMs) ?? load.usage[0]!;
    const { cpuSeconds } = usedBetween(load.usage, fromMs, toMs);
    return {
      minute: minute + 1,
      wordFinalSeconds: quantiles(values),
      residentMB: Math.round(sample.residentBytes / 2 ** 20),
      cpuPerAudioSecond: Number(((cpuSeconds * 1000) / (toMs - fromMs) / streams).toFixed(4)),
    };
  });
}

/** Of one value by minute: its first and last minutes' means, and the slope over all. */
export function trend(values: readonly number[]): { first: number; last: number; perHour: number } {
  const steady = values.length > 2 * EDGE_MINUTES ? values.slice(1) : values;
  const edge = Math.max(1, Math.min(EDGE_MINUTES, Math.floor(steady.length / 2)));
  const mean = (part: readonly number[]): number => Number((part.reduce((sum, value) => sum + value, 0) / part.length).toFixed(3));
  const perMinute = slope(steady.map((value, minute) => [minute, value]));
  return { first: mean(steady.slice(0, edge)), last: mean(steady.slice(-edge)), perHour: Number((60 * perMinute).toFixed(3)) };
}

export async function runSoak(parts: LadderParts): Promise<SoakResult> {
  const { options, generator, scorer, clips, progress } = parts;
  const count = options.streams[0]!;
  return withSystem('ours', parts, async (system) => {
    const offsets = staggerMs(count, options.chunkSeconds);
    const plans = Array.from({ length: count }, (_, index) => planStream(clips, index, options.soakMinutes * 60));
    const orders = plans.map((plan, index) => ({ plan, connectAfterMs: offsets[index]!, audioAfterMs: offsets[index]! }));
    const load = await generator.run(system, jobOf(options, system, orders), (seconds) => {
      if (seconds % 60 < 15) progress(`soak of ${options.soakMinutes} min: ${Math.floor(seconds / 60)} min`);
    });
    const errors: (ErrorCount | null)[] = [];
    for (const [index, { state, text }] of load.streams.entries()) {
      errors.push(state === 'done' ? await countErrors(scorer, plans[index]!, text) : null);
    }
    const minutes = minutesOf(load, count);
    return {
      total: summarise('ours', load, errors),
      minutes,
      p95Seconds: trend(minutes.flatMap(({ wordFinalSeconds: { p95 } }) => (p95 === null ? [] : [p95]))),
      residentMB: trend(minutes.map(({ residentMB }) => residentMB)),
    };
  });
}

export function formatSoak({ minutes, p95Seconds, residentMB }: SoakResult): string {
  const lines = minutes.map(({ minute, wordFinalSeconds, residentMB: resident, cpuPerAudioSecond }) => [
    String(minute),
    fixed(wordFinalSeconds.p50),
    fixed(wordFinalSeconds.p95),
    String(resident),
    fixed(cpuPerAudioSecond, 3),
  ]);
  const change = (name: string, { first, last, perHour }: SoakResult['p95Seconds']): string =>
    `${name}: ${fixed(first)} in the first minutes, ${fixed(last)} in the last, slope ${fixed(perHour)} an hour`;
  return [
    formatColumns([['minute', 'p50 s', 'p95 s', 'RSS MB', 'CPU s/s'], ...lines]),
    change('word-final p95, s', p95Seconds),
    change('resident memory, MB', residentMB),
  ].join('\n');
}

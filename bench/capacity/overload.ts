// --overload: how many streams are let in, and what becomes of them and of the others when many more come at once.

import type { StreamReport } from './generator-messages.ts';
import { type LadderParts, withSystem } from './ladder.ts';
import { type Quantiles, quantiles } from './latency.ts';
import type { LoadReport } from './load.ts';
import { planStream, staggerMs } from './plan.ts';
import { jobOf } from './step.ts';
import { fixed, formatColumns } from './table.ts';

export interface OverloadPhase {
  readonly offered: number;
  readonly admitted: number;
  readonly refused: number;
  readonly lost: number;
  /** Of the admitted. */
  readonly wordFinalSeconds: Quantiles;
  /** From the handshake's beginning to the refusal. */
  readonly refusalMs: Quantiles;
  /** How often each was the answer, for instance `503`. */
  readonly refusals: Readonly<Record<string, number>>;
  /** Refusals that say when to come again. */
  readonly withRetryAfter: number;
  readonly gaps: number;
}

export interface OverloadResult {
  /** Streams that were open when the first was refused; null: none was, up to the limit. */
  readonly admissible: number | null;
  readonly phases: readonly OverloadPhase[];
  /** Of the admitted's p95, the second phase to the first; null without a second phase. */
  readonly p95Ratio: number | null;
}

/** @param fromMs words that came before are not counted: the load was still rising */
export function phaseOf(load: LoadReport, fromMs: number): OverloadPhase {
  const streams = load.streams.filter(({ state }) => state !== 'absent');
  const admitted = streams.filter(({ state }) => state !== 'refused');
  const refused = streams.flatMap(({ refusal }) => (refusal === null ? [] : [refusal]));
  const refusals: Record<string, number> = {};
  for (const { reason } of refused) refusals[reason] = (refusals[reason] ?? 0) + 1;
  const later = (stream: StreamReport): readonly number[] =>
    stream.wordLatencySeconds.filter((_, index) => stream.wordReceivedMs[index]! >= fromMs);
  return {
    offered: streams.length,
    admitted: admitted.length,
    refused: refused.length,
    lost: admitted.filter(({ state }) => state === 'lost').length,
    wordFinalSeconds: quantiles(admitted.flatMap(later)),
    refusalMs: quantiles(
      refused.map(({ afterMs }) => afterMs),
      1,
    ),
    refusals,
    withRetryAfter: refused.filter(({ retryAfterSeconds }) => retryAfterSeconds !== null && retryAfterSeconds > 0).length,
    gaps: admitted.reduce((sum, { gaps }) => sum + (gaps ?? 0), 0),
  };
}

export async function runOverload(parts: LadderParts): Promise<OverloadResult> {
  const { options, generator, clips, progress } = parts;
  return withSystem('ours', parts, async (system) => {
    const rampMs = options.rampSeconds * 1000;
    const rising = Array.from({ length: options.maxStreams }, (_, index) => ({
      plan: planStream(clips, index, options.seconds + ((options.maxStreams - index) * rampMs) / 1000),
      connectAfterMs: index * rampMs,
      audioAfterMs: index * rampMs,
    }));
    const first = await generator.run(system, jobOf(options, system, rising, { afterRefusalSeconds: options.seconds }), (seconds) =>
      progress(`one stream more every ${options.rampSeconds} s: ${seconds} s`),
    );
    const phase = phaseOf(first, first.firstRefusalMs ?? first.startedMs + options.maxStreams * rampMs);
    if (first.firstRefusalMs === null) return { admissible: null, phases: [phase], p95Ratio: null };

    const offered = Math.ceil(phase.admitted * options.overloadFactor);
    progress(`${phase.admitted} were let in; now ${offered} at once`);
    // They all knock at once, and then speak as out of step as those of the first phase
    const offsets = staggerMs(offered, options.chunkSeconds);
    const crowd = Array.from({ length: offered }, (_, index) => ({
      plan: planStream(clips, index, options.seconds),
      connectAfterMs: 0,
      audioAfterMs: offsets[index]!,
    }));
    const second = await generator.run(system, jobOf(options, system, crowd), (seconds) => progress(`${offered} at once: ${seconds} s`));
    const crowded = phaseOf(second, second.startedMs);
    const [before, after] = [phase.wordFinalSeconds.p95, crowded.wordFinalSeconds.p95];
    return {
      admissible: phase.admitted,
      phases: [phase, crowded],
      p95Ratio: before === null || after === null ? null : Number((after / before).toFixed(3)),
    };
  });
}

export function formatOverload({ admissible, phases, p95Ratio }: OverloadResult): string {
  const lines = phases.map((phase, index) => [
    index === 0 ? 'one after the other' : 'all at once',
    String(phase.offered),
    String(phase.admitted),
    String(phase.lost),
    fixed(phase.wordFinalSeconds.p50),
    fixed(phase.wordFinalSeconds.p95),
    String(phase.refused),
    Object.entries(phase.refusals)
      .map(([reason, count]) => `${count} x ${reason}`)
      .join(', '),
    String(phase.withRetryAfter),
    fixed(phase.refusalMs.p95, 1),
    fixed(phase.refusalMs.max, 1),
  ]);
  const head = ['phase', 'offered', 'admitted', 'lost', 'p50 s', 'p95 s', 'refused', 'by', 'with Retry-After', 'p95 ms', 'max ms'];
  const verdict =
    admissible === null
      ? `none of ${phases[0]?.offered} was refused: raise --max-streams`
      : `admissible: ${admissible}; p95 of the admitted under overload over before: ${fixed(p95Ratio)}`;
  return `${formatColumns([head, ...lines])}\n${verdict}`;
}

// From transcripts to rates: word and character errors pooled over clips, word times, words where nothing is said.

import type { ClipResult, SystemName } from './measure.ts';
import type { PythonWorker } from './python.ts';
import type { TimedWord } from './systems.ts';

/** Errors over length, both added up over the clips. */
export interface Rate {
  readonly percent: number;
  readonly errors: number;
  readonly length: number;
  readonly clips: number;
}

export interface WordTimes {
  readonly matched: number;
  readonly medianMs: number;
  readonly p95Ms: number;
}

interface ErrorCount {
  readonly unit: 'word' | 'character';
  readonly errors: number;
  readonly length: number;
}

/** Sorted values, fraction 0-1: the smallest value that at least this share does not exceed. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)] ?? Number.NaN;
}

/** Pooled error rate of one system over the clips that have it; null without such clips. */
export async function errorRate(
  scorer: PythonWorker,
  results: readonly ClipResult[],
  system: SystemName,
  unit: 'word' | 'character' = 'word',
): Promise<Rate | null> {
  let errors = 0;
  let length = 0;
  let clips = 0;
  for (const { clip, outcomes } of results) {
    const outcome = outcomes[system];
    if (outcome === undefined) continue;
    const count = await scorer.request<ErrorCount>({
      op: 'errors',
      language: clip.language,
      reference: clip.text,
      hypothesis: outcome.text,
    });
    if (count.unit !== unit) continue;
    errors += count.errors;
    length += count.length;
    clips++;
  }
  return clips === 0 ? null : { percent: (100 * errors) / length, errors, length, clips };
}

/** Starts and ends of our words against faster-whisper's, on the words that both heard. */
export async function wordTimes(scorer: PythonWorker, results: readonly ClipResult[], system: SystemName): Promise<WordTimes | null> {
  const differences: number[] = [];
  let matched = 0;
  for (const { outcomes } of results) {
    const ours: readonly TimedWord[] = outcomes[system]?.words ?? [];
    const theirs = outcomes.beam5Words?.words ?? [];
    if (ours.length === 0 || theirs.length === 0) continue;
    const answer = await scorer.request<{ start: number[]; end: number[]; matched: number }>({ op: 'wordTimes', ours, theirs });
    differences.push(...answer.start, ...answer.end);
    matched += answer.matched;
  }
  if (matched === 0) return null;
  return { matched, medianMs: Math.round(1000 * quantile(differences, 0.5)), p95Ms: Math.round(1000 * quantile(differences, 0.95)) };
}

export async function wordCount(scorer: PythonWorker, text: string): Promise<number> {
  return (await scorer.request<{ words: number }>({ op: 'wordCount', text })).words;
}

/** Wall seconds of one system over the clips. */
export const wallSeconds = (results: readonly ClipResult[], system: SystemName): number =>
  results.reduce((sum, { outcomes }) => sum + (outcomes[system]?.wallSeconds ?? 0), 0);

/** Processor seconds for each second of audio; null where they could not be seen. */
export function cpuPerSecond(results: readonly ClipResult[], system: SystemName): number | null {
  let cpu = 0;
  let audio = 0;
  for (const { clip, outcomes } of results) {
    const seconds = outcomes[system]?.cpuSeconds;
    if (seconds === undefined || seconds === null) continue;
    cpu += seconds;
    audio += clip.seconds;
  }
  return audio === 0 ? null : cpu / audio;
}

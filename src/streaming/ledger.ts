// The coverage ledger: what became final, as finals and spans without speech that tile the stream in integer samples. Pure.

import { SAMPLE_RATE } from '../core/units.ts';
import type { TimedWord } from './commit.ts';

/** A stretch of committed audio, start < end. */
export interface LedgerSpan {
  readonly start: number;
  readonly end: number;
  /** Empty: nothing was said. Otherwise inside [start, end]. */
  readonly words: readonly TimedWord[];
}

/** A gap this long before the first or after the last word is a span of its own. */
export const OUTER_GAP_SAMPLES = SAMPLE_RATE;

/** A pause this long between two words separates two finals. */
export const INNER_GAP_SAMPLES = 2 * SAMPLE_RATE;

/** The shortest span that a final is given; words can have no length at all. */
const FINAL_MINIMUM_SAMPLES = SAMPLE_RATE / 10;

/**
 * Spans that tile [from, to) exactly, each longer than nothing: a final for each group of words, gaps as spans without words.
 * @param words in order, without overlaps, inside [from, to]
 */
export function tile(from: number, to: number, words: readonly TimedWord[]): LedgerSpan[] {
  if (from >= to) return [];
  const spans: LedgerSpan[] = [];
  let cursor = from;
  const groups = groupWords(words);
  for (const [index, group] of groups.entries()) {
    let start = Math.min(group[0]!.start, to - FINAL_MINIMUM_SAMPLES);
    if (start - cursor >= OUTER_GAP_SAMPLES) spans.push({ start: cursor, end: start, words: [] });
    else start = cursor;
    const lastEnd = Math.max(group.at(-1)!.end, start + FINAL_MINIMUM_SAMPLES);
    const end = index < groups.length - 1 || to - lastEnd >= OUTER_GAP_SAMPLES ? lastEnd : to;
    spans.push({ start, end, words: group });
    cursor = end;
  }
  if (cursor < to) spans.push({ start: cursor, end: to, words: [] });
  return spans;
}

function groupWords(words: readonly TimedWord[]): TimedWord[][] {
  const groups: TimedWord[][] = [];
  for (const word of words) {
    const previous = groups.at(-1)?.at(-1);
    if (previous === undefined || word.start - previous.end >= INNER_GAP_SAMPLES) groups.push([word]);
    else groups.at(-1)!.push(word);
  }
  return groups;
}

// Which words of a decoded window are final, and how far the stream is committed with them. Pure; live streams and files share it.

import { SAMPLE_RATE } from '../core/units.ts';
import type { TranscribeResult } from '../engine/transcriber.ts';

/** A word with absolute sample times, start <= end. */
export interface TimedWord {
  readonly text: string;
  readonly tokens: readonly number[];
  readonly start: number;
  readonly end: number;
  /** 0-1 */
  readonly probability: number;
}

/** What a decode covered, in absolute samples: start <= committedUntil < end. */
export interface DecodedSpan {
  /** First sample of the window; the words between here and committedUntil were forced. */
  readonly start: number;
  readonly committedUntil: number;
  readonly end: number;
}

export interface CommitRules {
  /** Words that end within this many samples of the window's end are held back. */
  readonly overlapSamples: number;
  /** Doubtful words are held back when they end within this many samples of the window's end. */
  readonly doubtSamples: number;
  /** The uncommitted region may not be longer than this when the next window is planned. */
  readonly regionLimitSamples: number;
  /** Where the next window will end at the earliest, given how far this one commits. */
  nextEnd(committedUntil: number): number;
}

/** Where doubtful words wait: the later part of a chunk, so that most of each chunk still becomes final at its end. */
export const doubtSamples = (chunkSamples: number): number => Math.min(3 * SAMPLE_RATE, Math.round(0.6 * chunkSamples));

export interface Commit {
  /** Final now. */
  readonly kept: readonly TimedWord[];
  /** To be heard again with the next window; they start at or after committedUntil. */
  readonly held: readonly TimedWord[];
  readonly committedUntil: number;
}

/** Nothing kept: a leading gap shorter than this isn't worth committing, and a word's onset may lie in it. */
const LEADING_GAP_SAMPLES = SAMPLE_RATE / 2;

/** Alignment puts a word's start late by up to this; the next window must still hold its onset. */
const ONSET_GUARD_SAMPLES = SAMPLE_RATE / 5;

/**
 * A word that ends less than `samples` before a window's end, with a probability below this, was perhaps misheard for want of what follows:
 * it waits for the next window. The further it is from the end, the less it gains by that (ARCHITECTURE.md, "Words held back").
 */
const DOUBT = [
  { samples: 2 * SAMPLE_RATE, probability: 0.7 },
  { samples: 2.5 * SAMPLE_RATE, probability: 0.5 },
] as const;
/** Below this it waits wherever doubtful words do. */
const MUCH_DOUBT = 0.3;

/** A word said twice takes longer than this after the first; the rest of one that was cut does not. */
const SEAM_TAIL_SAMPLES = SAMPLE_RATE / 4;

/**
 * The result's words on the stream's clock: inside [committedUntil, end], in order, without overlaps. Alignment is a few tens of
 * milliseconds off and now and then quite wrong, so nothing after this relies on it.
 * @param lastCommitted the word before, to recognise it when a decode that was not forced through it hears its tail again
 */
export function placeWords(result: TranscribeResult, span: DecodedSpan, lastCommitted: TimedWord | undefined): TimedWord[] {
  const forced = span.start < span.committedUntil && result.offset === 0;
  const heard = !forced && repeatsLast(result, span, lastCommitted) ? result.words.slice(1) : result.words;
  const words: TimedWord[] = [];
  let earliest = span.committedUntil;
  for (const word of heard) {
    const start = clamp(span.start + word.start, earliest, span.end);
    const end = clamp(span.start + word.end, start, span.end);
    const previous = words.at(-1);
    if (previous !== undefined && previous.end > start) words[words.length - 1] = { ...previous, end: start };
    words.push({ text: word.text, tokens: word.tokens, start, end, probability: word.probability });
    earliest = start;
  }
  return words;
}

function repeatsLast(result: TranscribeResult, span: DecodedSpan, last: TimedWord | undefined): boolean {
  const first = result.words[0];
  if (first === undefined || last === undefined || bare(first.text) !== bare(last.text)) return false;
  return span.start + first.end <= last.end + SEAM_TAIL_SAMPLES;
}

/** Case and punctuation depend on what stands around a word. */
const bare = (text: string): string => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

/** Everything is final, up to the window's end: a flush, or a cut in a pause. */
export function commitAll(words: readonly TimedWord[], span: DecodedSpan): Commit {
  return { kept: words, held: [], committedUntil: span.end };
}

/**
 * Holds back the words near the window's end. Each commit either advances committedUntil or leaves it; when leaving it would let the
 * uncommitted region outgrow its limit (a word that seems to fill the whole window), what was held back is kept after all: audio is
 * never passed over.
 */
export function commitWords(words: readonly TimedWord[], span: DecodedSpan, rules: CommitRules): Commit {
  const fits = (commit: Commit): boolean => rules.nextEnd(commit.committedUntil) - commit.committedUntil <= rules.regionLimitSamples;
  const lastSafe = span.end - rules.overlapSamples;
  const lastSure = span.end - Math.max(rules.overlapSamples, rules.doubtSamples);
  const doubtBelow = (word: TimedWord): number => DOUBT.find(({ samples }) => span.end - word.end < samples)?.probability ?? MUCH_DOUBT;
  const isHeld = (word: TimedWord): boolean => word.end > lastSafe || (word.end > lastSure && word.probability < doubtBelow(word));
  const firstHeld = words.findIndex(isHeld);
  const usual =
    firstHeld === -1 ? { kept: words, held: [], committedUntil: Math.max(span.committedUntil, lastSafe) } : splitAt(words, firstHeld, span);
  if (fits(usual)) return usual;
  const allButLast = splitAt(words, Math.max(0, words.length - 1), span);
  if (allButLast.kept.length > 0 && fits(allButLast)) return allButLast;
  return commitAll(words, span);
}

/** Keeps the first `count` words, of more than that. */
function splitAt(words: readonly TimedWord[], count: number, span: DecodedSpan): Commit {
  const first = words[count]!;
  const last = words[count - 1];
  if (last !== undefined && last.end > span.committedUntil) {
    return { kept: words.slice(0, count), held: words.slice(count), committedUntil: Math.min(last.end, first.start) };
  }
  // Kept words without any length could not be shown on the ledger: they wait with the rest.
  const start = words[0]!.start;
  const gapIsClear = start - span.committedUntil >= LEADING_GAP_SAMPLES;
  return { kept: [], held: words, committedUntil: gapIsClear ? start - ONSET_GUARD_SAMPLES : span.committedUntil };
}

// The committed words that the next windows begin with: the decoder is forced through them, so context is acoustics, not a prompt.

import type { TimedWord } from './commit.ts';

/** Tokens that the decoder may be forced through; it has 448 positions, and speech of 8 s has about 40. */
const PREFIX_TOKENS_MAXIMUM = 128;

export interface AnchoredStart {
  /** First sample of the window. */
  readonly start: number;
  /** Tokens of the words in [start, committedUntil). */
  readonly prefix: readonly number[];
}

export class Anchors {
  readonly #leftSamples: number;
  #words: readonly TimedWord[] = [];
  #last: TimedWord | undefined;

  /** @param leftSamples audio before the committed position whose words are kept; 0: windows have no context */
  constructor(leftSamples: number) {
    this.#leftSamples = leftSamples;
  }

  /** The last committed word: its tail may be heard again, also where windows have no context. */
  get last(): TimedWord | undefined {
    return this.#last;
  }

  /** Adds words that became final and forgets those that are out of reach of `committedUntil`. */
  commit(kept: readonly TimedWord[], committedUntil: number): void {
    this.#last = kept.at(-1) ?? this.#last;
    this.#words = [...this.#words, ...kept].filter((word) => word.start >= committedUntil - this.#leftSamples);
  }

  /**
   * Where the window for [committedUntil, end) begins: at its first anchor, or at committedUntil when there is none.
   * @param leftSamples less than what is kept, for a window that is content with less context
   */
  plan(committedUntil: number, end: number, windowLimitSamples: number, leftSamples = this.#leftSamples): AnchoredStart {
    const earliest = Math.max(committedUntil - Math.min(leftSamples, this.#leftSamples), end - windowLimitSamples);
    let first = this.#words.length;
    let tokenCount = 0;
    while (first > 0 && this.#leftSamples > 0) {
      const word = this.#words[first - 1]!;
      tokenCount += word.tokens.length;
      if (word.start < earliest || tokenCount > PREFIX_TOKENS_MAXIMUM) break;
      first--;
    }
    const start = this.#words[first]?.start ?? committedUntil;
    // Words without length at the seam have no audio to be forced through.
    if (start >= committedUntil) return { start: committedUntil, prefix: [] };
    return { start, prefix: this.#words.slice(first).flatMap((word) => word.tokens) };
  }
}

// Turns committed words into numbered events: finals and no_speech spans from the ledger, partials that replace each other.

import type { TimedWord } from './commit.ts';
import { tile } from './ledger.ts';
import type { SessionEvent, TranscriptEvent } from './session-types.ts';

export class EventWriter {
  #segmentId = 0;
  #rev = 0;
  /** Text of the partial that stands at the client. */
  #shown = '';

  /** Finals written so far. */
  get segmentCount(): number {
    return this.#segmentId;
  }

  /** Finals and no_speech events that tile [from, to) exactly. */
  commit(from: number, to: number, words: readonly TimedWord[], language: string): SessionEvent[] {
    return tile(from, to, words).map((span) => {
      if (span.words.length === 0) return { kind: 'no_speech', start: span.start, end: span.end };
      const final = this.#transcript('final', span.start, span.end, span.words, language);
      this.#segmentId++;
      this.#rev = 0;
      this.#shown = '';
      return final;
    });
  }

  /**
   * A partial in place of the one at the client; nothing when it says the same. Without words it takes back what was shown.
   * @param committedUntil where the uncommitted region begins
   */
  partial(committedUntil: number, words: readonly TimedWord[], language: string): TranscriptEvent[] {
    const text = joinWords(words);
    if (text === this.#shown) return [];
    this.#shown = text;
    const start = words[0]?.start ?? committedUntil;
    return [this.#transcript('partial', start, words.at(-1)?.end ?? start, words, language)];
  }

  #transcript(kind: 'final' | 'partial', start: number, end: number, words: readonly TimedWord[], language: string): TranscriptEvent {
    this.#rev++;
    return { kind, segmentId: this.#segmentId, rev: this.#rev, start, end, text: joinWords(words), language, words };
  }
}

/** Words as text; they carry their own spaces. */
export const joinWords = (words: readonly TimedWord[]): string =>
  words
    .map((word) => word.text)
    .join('')
    .trim();

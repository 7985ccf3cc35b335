// Groups a file's words into segments as subtitles want them: a sentence or less, short enough to read. Works as the words come in.

import { SAMPLE_RATE } from '../core/units.ts';
import type { TimedWord } from './commit.ts';

/** Consecutive words; end may lie after the last word's where it has no length. */
export interface Segment {
  readonly start: number;
  readonly end: number;
  readonly words: readonly TimedWord[];
}

const PAUSE_SAMPLES = SAMPLE_RATE;
const LONGEST_SAMPLES = 10 * SAMPLE_RATE;
/** Columns; two lines of a subtitle. East Asian characters take two. */
const WIDEST_COLUMNS = 80;
/** A sentence that ends earlier shares a segment with the next ("Mr.", "No."). */
const SENTENCE_SAMPLES = 1.5 * SAMPLE_RATE;
/** What a viewer can notice at all. */
const SHORTEST_SAMPLES = SAMPLE_RATE / 2;

export class Segmenter {
  #words: TimedWord[] = [];

  /** The segments that these words complete. */
  push(words: readonly TimedWord[]): Segment[] {
    return words.flatMap((word) => this.#add(word));
  }

  /** What is left. */
  flush(): Segment[] {
    return this.#words.length === 0 ? [] : [this.#take(this.#words.length, Number.POSITIVE_INFINITY)];
  }

  #add(word: TimedWord): Segment[] {
    const last = this.#words.at(-1);
    const done: Segment[] = [];
    if (last !== undefined && startsAnew(word)) {
      const first = this.#words[0]!;
      const isPause = word.start - last.end >= PAUSE_SAMPLES;
      const isSentence = endsSentence(last) && last.end - first.start >= SENTENCE_SAMPLES;
      if (isPause || isSentence) done.push(this.#take(this.#words.length, word.start));
      else if (word.end - first.start > LONGEST_SAMPLES || columns(this.#words) + columns([word]) > WIDEST_COLUMNS) {
        const count = bestBreak(this.#words);
        done.push(this.#take(count, this.#words[count]?.start ?? word.start));
      }
    }
    this.#words.push(word);
    return done;
  }

  #take(count: number, nextStart: number): Segment {
    const words = this.#words.splice(0, count);
    const start = words[0]!.start;
    const lastEnd = words.at(-1)!.end;
    return { start, end: Math.max(lastEnd, Math.min(start + SHORTEST_SAMPLES, nextStart)), words };
  }
}

/** Text that goes on with the word before ("'s", ",") stays with it; scripts without spaces may break anywhere. */
const startsAnew = (word: TimedWord): boolean => /^[\s\p{Lo}]/u.test(word.text);

const endsSentence = (word: TimedWord): boolean => /[.!?…。！？]["'”’»)\]」』]*\s*$/u.test(word.text);

const endsClause = (word: TimedWord): boolean => /[,;:、，；：—–.!?…。！？]["'”’»)\]」』]*\s*$/u.test(word.text);

/** How many words the first part of a segment that got too long has: up to a clause's end in its second half, or all. */
function bestBreak(words: readonly TimedWord[]): number {
  for (let count = words.length - 1; count > words.length / 2; count--) {
    if (endsClause(words[count - 1]!) && startsAnew(words[count]!)) return count;
  }
  return words.length;
}

function columns(words: readonly TimedWord[]): number {
  let count = 0;
  for (const word of words) for (const character of word.text) count += /[\u1100-\u115f\u2e80-\uffef]/u.test(character) ? 2 : 1;
  return count;
}

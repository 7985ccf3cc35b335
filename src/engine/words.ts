// Turns decoded tokens and their alignment into timed words, punctuation attached.

import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { alignRows } from './alignment.ts';
import type { DecodedText } from './decode.ts';
import { SAMPLES_PER_POSITION } from './positions.ts';
import type { Word } from './transcriber.ts';

/** Punctuation that belongs to the word after it, and to the word before it (`whisper/timing.py` merge_punctuations). */
const PREPENDED = '"\'“¿([{-';
const APPENDED = '"\'.。,，!！?？:：”)]}、';

export interface TimedTextInput {
  readonly decoded: DecodedText;
  /** Number of forced words' tokens before the decoded ones. */
  readonly forced: number;
  readonly heads: number;
  /** Samples of audio in the window, without the margin. */
  readonly sampleCount: number;
  readonly language: string;
}

/** The new words with times in samples from the window's start. */
export function timedWords(input: TimedTextInput, tokenizer: Tokenizer): Word[] {
  const { decoded, forced, heads, sampleCount } = input;
  const { positions } = decoded;
  const stride = positions.length;
  const heard = Math.ceil(sampleCount / SAMPLES_PER_POSITION);
  const behind = positions.findIndex((position) => position > heard);
  const frames = behind === -1 ? stride : behind;
  const starts = alignRows(decoded.alignment, heads, decoded.alignmentRows, stride, frames);
  /** Start of decoded token i; past the last it is the end of the one before. */
  const startOf = (i: number): number => {
    const row = Math.min(forced + i, starts.length - 1);
    return Math.min(sampleCount, (positions[starts[row] as number] as number) * SAMPLES_PER_POSITION);
  };
  let first = 0;
  const words = tokenizer.splitWords(decoded.tokens, input.language).map(({ text, tokens }): Word => {
    const next = first + tokens.length;
    let sum = 0;
    for (let i = first; i < next; i++) sum += Math.exp(decoded.logProbabilities[i] as number);
    const word = { text, tokens, start: startOf(first), end: startOf(next), probability: sum / tokens.length };
    first = next;
    return word;
  });
  return attachPunctuation(words);
}

/** Joins opening punctuation to the word after it and closing punctuation to the word before it. */
export function attachPunctuation(words: readonly Word[]): Word[] {
  const attached: Word[] = [];
  let opening: Word | null = null;
  for (const word of words) {
    const bare = word.text.trim();
    const last = attached.at(-1);
    if (word.text.startsWith(' ') && bare !== '' && PREPENDED.includes(bare)) {
      if (opening) attached.push(opening);
      opening = word;
    } else if (!opening && last && !word.text.startsWith(' ') && bare !== '' && APPENDED.includes(bare)) {
      // Its time is left out: the decoder stretches a full stop over the pause after it.
      attached[attached.length - 1] = join(last, word, last.start, last.end);
    } else if (opening) {
      attached.push(join(opening, word, word.start, word.end));
      opening = null;
    } else {
      attached.push(word);
    }
  }
  if (opening) attached.push(opening);
  return attached;
}

function join(a: Word, b: Word, start: number, end: number): Word {
  const probability = bareLength(a) === 0 ? b.probability : a.probability;
  return { text: a.text + b.text, tokens: [...a.tokens, ...b.tokens], start, end, probability };
}

const bareLength = (word: Word): number => word.text.replace(/[\p{P}\s]/gu, '').length;

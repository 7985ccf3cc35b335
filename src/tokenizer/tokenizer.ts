// Whisper's tokenizer: text to tokens and back, words, and the ids of special tokens; from a model folder's tokenizer.json.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as BpeTokenizer } from '@huggingface/tokenizers';
import { WhisperError } from '../core/errors.ts';
import { createByteTable } from './byte-table.ts';
import { findSpecialTokens, type SpecialTokens, type TokenizerFile } from './special-tokens.ts';
import { splitIntoWords, type WordTokens } from './words.ts';

export interface Tokenizer {
  readonly special: SpecialTokens;
  /** Plain text to tokens; what looks like a special token (`<|endoftext|>`) is text like any other. */
  encode(text: string): number[];
  /** Tokens to text. Special tokens are dropped, and so is a character at the end whose bytes are not complete. */
  decode(tokens: readonly number[]): string;
  /** Words with their leading space and trailing punctuation; joining the texts gives `decode(tokens)`. */
  splitWords(tokens: readonly number[], language: string): WordTokens[];
}

export interface TokenizerOptions {
  /** True for models that know languages and tasks; `.en` models have other ids and no languages. */
  readonly multilingual: boolean;
}

/** The replacement characters of a sequence that lacks its last bytes. */
const INCOMPLETE_END = /\uFFFD+$/;

/** Rejects with `model_not_found` where the folder has no tokenizer.json, `model_corrupt` where it is not Whisper's. */
export async function loadTokenizer(dir: string, options: TokenizerOptions): Promise<Tokenizer> {
  const path = join(dir, 'tokenizer.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new WhisperError('model_not_found', `${path}: cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
  try {
    return createTokenizer(text, options);
  } catch (cause) {
    const problem =
      cause instanceof SyntaxError
        ? 'is not valid JSON'
        : `is not a Whisper tokenizer (${cause instanceof Error ? cause.message : String(cause)})`;
    throw new WhisperError('model_corrupt', `${path}: ${problem}`, { cause });
  }
}

function createTokenizer(text: string, { multilingual }: TokenizerOptions): Tokenizer {
  const file = JSON.parse(text) as TokenizerFile;
  const special = findSpecialTokens(file, multilingual);
  const table = createByteTable(file, special.endOfText);
  const isText = (token: number): boolean => token < special.endOfText;
  /** Keeps U+FFFD where the bytes are not valid UTF-8, which is how words find the borders of characters. */
  const decodeRaw = (tokens: readonly number[]): string => table.decode(tokens.filter(isText));

  return {
    special,
    // Only prompts need it, and its maps are 20 MB of small objects for the garbage collector to look at, again and again.
    encode: memoise(() => createEncoder(text)),
    decode: (tokens) => decodeRaw(tokens).replace(INCOMPLETE_END, ''),
    splitWords: (tokens, language) => splitIntoWords(tokens.filter(isText), language, decodeRaw),
  };
}

function createEncoder(text: string): (text: string) => number[] {
  // without the added tokens, a prompt that contains "<|endoftext|>" cannot smuggle one in
  const bpe = new BpeTokenizer({ ...(JSON.parse(text) as TokenizerFile), added_tokens: [] }, {});
  return (prompt) => (prompt === '' ? [] : bpe.encode(prompt, { add_special_tokens: false }).ids);
}

/** The function that `create` makes, made when it is first called. */
function memoise(create: () => (text: string) => number[]): (text: string) => number[] {
  let made: ((text: string) => number[]) | null = null;
  return (text) => {
    made ??= create();
    return made(text);
  };
}

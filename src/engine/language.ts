// Which language a window is spoken in: the likeliest language token after `<|startoftranscript|>` (`whisper/decoding.py` detect_language).

import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { EncodedWindows, SelfCache } from './caches.ts';
import { MASKED, type ModelSession } from './model-session.ts';

export interface DetectedLanguage {
  /** ISO code. */
  readonly language: string;
  /** 0-1, among all languages. */
  readonly probability: number;
}

/** One pass over all the windows; `self` is used and left empty. */
export async function detectLanguages(
  session: ModelSession,
  tokenizer: Tokenizer,
  cross: EncodedWindows,
  self: SelfCache,
): Promise<DetectedLanguage[]> {
  const rows = cross.windows;
  const { startOfTranscript } = tokenizer.special;
  self.reset(rows);
  const output = await session.step(
    {
      tokens: new BigInt64Array(rows).fill(BigInt(startOfTranscript)),
      positions: new BigInt64Array(rows),
      count: 1,
      selfBias: new Float32Array(rows),
      select: new BigInt64Array(rows),
      selected: 1,
      mask: languageMask(tokenizer, session.config.vocabularySize),
      candidates: 1,
      withLogits: false,
    },
    cross,
    self,
  );
  self.reset(0);
  return Array.from(output.tokens, (token, r) => languageOf(tokenizer, Number(token), output.values[r] as number));
}

/** @param token one of a language, the likeliest under `languageMask` */
export function languageOf(tokenizer: Tokenizer, token: number, logProbability: number): DetectedLanguage {
  const found = [...tokenizer.special.languageTokens].find(([, id]) => id === token);
  if (found === undefined) throw new RangeError(`token ${token} is no language`);
  const [language] = found;
  return { language, probability: Math.exp(logProbability) };
}

/** Leaves the languages' tokens. */
export function languageMask(tokenizer: Tokenizer, vocabularySize: number): Float32Array {
  const mask = new Float32Array(vocabularySize).fill(MASKED);
  for (const token of tokenizer.special.languageTokens.values()) mask[token] = 0;
  return mask;
}

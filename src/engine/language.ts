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
  const { startOfTranscript, languageTokens } = tokenizer.special;
  const mask = new Float32Array(session.config.vocabularySize).fill(MASKED);
  for (const token of languageTokens.values()) mask[token] = 0;
  const languages = new Map([...languageTokens].map(([language, token]) => [token, language]));
  self.reset(rows);
  const output = await session.step(
    {
      tokens: new BigInt64Array(rows).fill(BigInt(startOfTranscript)),
      positions: new BigInt64Array(rows),
      count: 1,
      selfBias: new Float32Array(rows),
      select: new BigInt64Array(rows),
      selected: 1,
      mask,
      candidates: 1,
      withLogits: false,
    },
    cross,
    self,
  );
  self.reset(0);
  return Array.from(output.tokens, (token, r) => ({
    language: languages.get(Number(token)) as string,
    probability: Math.exp(output.values[r] as number),
  }));
}

// Pure rules of decoding: start tokens, suppressed tokens, when a decode is bad or doubtful, and what is tried next.

import { deflateSync } from 'node:zlib';
import type { ModelConfig } from '../model/config.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { MASKED } from './model-session.ts';
import type { Strides } from './positions.ts';
import type { Task } from './transcriber.ts';

/** Names and defaults of `whisper/transcribe.py` where it has them; ARCHITECTURE.md tells how the others were chosen. */
export interface DecodingRules extends Strides {
  /** Seconds of silence after the audio: Whisper loops when speech reaches the window's very end. @default 3 */
  readonly marginSeconds: number;
  /** A text that deflates better than this repeats itself. @default 2.4 */
  readonly compressionRatioThreshold: number;
  /** A mean log-probability below this is a failed decode. @default -1 */
  readonly logProbabilityThreshold: number;
  /** Nothing was said where `<|nospeech|>` is likelier than this and the text fails logProbabilityThreshold. @default 0.6 */
  readonly noSpeechThreshold: number;
  /** Greedy results with a mean log-probability below this, empty ones below half of it, are searched again with beams. -Infinity never, 0 always. @default -0.4 */
  readonly beamThreshold: number;
  /** Hypotheses of the beam search. @default 5 */
  readonly beams: number;
  /** The search keeps the greedy text up to its first token below this probability (0-1). 1 searches the whole text. @default 0.7 */
  readonly settledProbability: number;
  /** Sampling temperatures that are tried when all else failed. @default [0.2, 0.4, 0.6, 0.8, 1] */
  readonly temperatures: readonly number[];
}

export const DEFAULT_RULES: DecodingRules = {
  marginSeconds: 3,
  committedStride: 2,
  silenceStride: 5,
  compressionRatioThreshold: 2.4,
  logProbabilityThreshold: -1,
  noSpeechThreshold: 0.6,
  beamThreshold: -0.4,
  beams: 5,
  settledProbability: 0.7,
  temperatures: [0.2, 0.4, 0.6, 0.8, 1],
};

/** One way to decode a window. */
export interface Attempt {
  readonly withPrefix: boolean;
  /** Pad to Whisper's full 30 s instead of the short margin. */
  readonly fullPad: boolean;
  readonly beams: number;
  readonly temperature: number;
}

export interface Quality {
  readonly ended: boolean;
  /** Nothing but the end of text. */
  readonly isEmpty: boolean;
  readonly averageLogProbability: number;
  readonly compressionRatio: number;
  readonly noSpeechProbability: number;
}

export type Verdict = 'good' | 'doubtful' | 'bad' | 'no-speech';

export function judge(quality: Quality, rules: DecodingRules): Verdict {
  // Not `<`: a device whose numbers overflowed says NaN.
  const unlikely = !(quality.averageLogProbability >= rules.logProbabilityThreshold);
  if (unlikely && quality.noSpeechProbability > rules.noSpeechThreshold) return 'no-speech';
  if (!quality.ended || unlikely || quality.compressionRatio > rules.compressionRatioThreshold) return 'bad';
  // A text that is wrongly empty costs all of its words, not one or two.
  const threshold = quality.isEmpty ? rules.beamThreshold / 2 : rules.beamThreshold;
  return quality.averageLogProbability < threshold ? 'doubtful' : 'good';
}

/**
 * What to try after `attempt` was judged: a doubtful greedy decode is searched with beams; a bad one is tried without the
 * forced prefix, then with the full pad and beams, then by sampling. Null: nothing is left.
 */
export function nextAttempt(attempt: Attempt, verdict: Verdict, hasPrefix: boolean, rules: DecodingRules): Attempt | null {
  if (verdict === 'good' || verdict === 'no-speech') return null;
  if (verdict === 'doubtful')
    return attempt.beams === 1 && attempt.temperature === 0 && rules.beams > 1 ? { ...attempt, beams: rules.beams } : null;
  if (attempt.withPrefix && hasPrefix) return { ...attempt, withPrefix: false, beams: 1 };
  if (!attempt.fullPad) return { ...attempt, fullPad: true, beams: rules.beams };
  const temperature = rules.temperatures.find((t) => t > attempt.temperature);
  return temperature === undefined ? null : { ...attempt, beams: 1, temperature };
}

/** How many tokens of a greedy text, of these log-probabilities, a search need not look at again. */
export function settledCount(logProbabilities: readonly number[], { settledProbability }: DecodingRules): number {
  const doubtful = logProbabilities.findIndex((value) => Math.exp(value) < settledProbability);
  return settledProbability >= 1 || doubtful === -1 ? 0 : doubtful;
}

export const FIRST_ATTEMPT: Attempt = { withPrefix: true, fullPad: false, beams: 1, temperature: 0 };

/** UTF-8 bytes over deflated bytes; 0 for texts too short to repeat themselves. */
export function compressionRatio(text: string): number {
  const bytes = Buffer.from(text);
  return bytes.length < 20 ? 0 : bytes.length / deflateSync(bytes).length;
}

/** `<|startoftranscript|>`, language and task for models that know them, `<|notimestamps|>`: words get their times from alignment. */
export function startTokens(tokenizer: Tokenizer, language: string, task: Task): number[] {
  const { special } = tokenizer;
  const token = special.languageTokens.get(language);
  if (token === undefined) return [special.startOfTranscript, special.noTimestamps];
  return [special.startOfTranscript, token, special[task], special.noTimestamps];
}

export interface Masks {
  readonly mask: Float32Array;
  /** With the tokens that a text must not begin with. */
  readonly firstMask: Float32Array;
}

/** Leaves text that may be spoken and `<|endoftext|>`; everything else is masked. */
export function buildMasks(config: ModelConfig, tokenizer: Tokenizer): Masks {
  const mask = new Float32Array(config.vocabularySize);
  for (const token of config.suppressTokens) mask[token] = MASKED;
  mask.fill(MASKED, tokenizer.special.endOfText + 1);
  mask[tokenizer.special.endOfText] = 0;
  const firstMask = mask.slice();
  for (const token of config.beginSuppressTokens) firstMask[token] = MASKED;
  return { mask, firstMask };
}

/** Most tokens that speech of this length can need; a decode that wants more is looping. */
export function tokenLimit(seconds: number): number {
  return Math.min(224, 24 + Math.ceil(12 * seconds));
}

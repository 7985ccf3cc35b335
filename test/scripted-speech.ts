// Synthetic speech for tests of the streaming layer: every word is written into the sample values, so that a fake transcriber
// can read which words a window holds, whole or cut, without a model.

import { WhisperError } from '../src/core/errors.ts';
import type { SpeechDetector, TranscribeRequest, TranscribeResult, Transcriber, TranscriberLoad, Word } from '../src/engine/transcriber.ts';
import { IDLE_LOAD } from './load.ts';

export interface SpokenWord {
  /** Samples. */
  readonly start: number;
  readonly end: number;
}

/** A pause and the word after it, in samples. */
export interface Utterance {
  readonly pause: number;
  readonly length: number;
}

export function layOut(utterances: readonly Utterance[]): SpokenWord[] {
  let at = 0;
  return utterances.map(({ pause, length }) => {
    const start = at + pause;
    at = start + length;
    return { start, end: at };
  });
}

/** Word i has the value 0.5 + i / 2^16 (exact in float32, and loud); silence is 0. */
export function synthesize(words: readonly SpokenWord[], from: number, to: number): Float32Array {
  const pcm = new Float32Array(to - from);
  for (const [index, word] of words.entries()) {
    if (word.end > from && word.start < to) pcm.fill(0.5 + index / 65_536, Math.max(0, word.start - from), Math.min(to, word.end) - from);
  }
  return pcm;
}

export const wordText = (index: number): string => ` w${index}`;
const wordToken = (index: number): number => index + 1;

/** How a fake deviates from the truth; must depend on its arguments only, or paced and burst runs could not be compared. */
export interface Flaws {
  /** Replaces the words of a result. */
  readonly distort?: (words: Word[], request: TranscribeRequest) => Word[];
  /** True: the decode is repeated without the prefix. */
  readonly unforced?: (request: TranscribeRequest) => boolean;
  readonly language?: (request: TranscribeRequest) => { readonly language: string; readonly probability: number };
}

/** What an honest engine hears; a word that the window cuts comes out as garbage. */
export function hear(words: readonly SpokenWord[], request: TranscribeRequest, flaws: Flaws = {}): TranscribeResult {
  const { pcm, prefix = [], prefixSamples = 0 } = request;
  const offset = flaws.unforced?.(request) ? prefixSamples : 0;
  const forced = new Set(offset === 0 ? prefix : []);
  const heard: Word[] = [];
  for (let from = offset; from < pcm.length; ) {
    let to = from + 1;
    while (to < pcm.length && pcm[to] === pcm[from]) to++;
    const index = Math.round((pcm[from]! - 0.5) * 65_536);
    const word = words[index];
    if (pcm[from] !== 0 && word !== undefined && !forced.has(wordToken(index))) {
      const isWhole = to - from === word.end - word.start;
      heard.push({
        text: isWhole ? wordText(index) : ` cut${index}`,
        tokens: [isWhole ? wordToken(index) : -wordToken(index)],
        start: from,
        end: to,
        probability: 0.9,
      });
    }
    from = to;
  }
  const detected = request.language === null ? flaws.language?.(request) : undefined;
  return {
    words: flaws.distort?.(heard, request) ?? heard,
    offset,
    language: detected?.language ?? request.language ?? 'en',
    languageProbability: detected?.probability ?? 1,
    noSpeechProbability: 0,
    averageLogProbability: -0.2,
    compressionRatio: 1,
    temperature: 0,
  };
}

/** A Transcriber that hears the script. `requests` logs what it was asked. */
export function createScriptedTranscriber(
  words: readonly SpokenWord[],
  flaws: Flaws & {
    readonly before?: (request: TranscribeRequest, signal?: AbortSignal) => Promise<void> | void;
    /** @default IDLE_LOAD */
    readonly load?: () => TranscriberLoad;
  } = {},
): Transcriber & { readonly requests: TranscribeRequest[] } {
  const requests: TranscribeRequest[] = [];
  const running = new Set<Promise<TranscribeResult>>();
  let closed = false;
  const answer = async (request: TranscribeRequest, signal?: AbortSignal): Promise<TranscribeResult> => {
    if (closed) throw new WhisperError('going_away', 'The script is closed.');
    requests.push(request);
    await flaws.before?.(request, signal);
    if (signal?.aborted) throw new WhisperError('cancelled', 'The request was cancelled.');
    return hear(words, request, flaws);
  };
  return {
    requests,
    info: { name: 'scripted', multilingual: true, languages: ['en', 'de'] },
    load: flaws.load ?? (() => IDLE_LOAD),
    async transcribe(request, signal) {
      const answered = answer(request, signal);
      running.add(answered);
      try {
        return await answered;
      } finally {
        running.delete(answered);
      }
    },
    async close() {
      closed = true;
      await Promise.allSettled(running);
    },
  };
}

/** 1 for each frame of 512 samples with any sound in it. */
export const scriptedDetector: SpeechDetector = {
  async detect(pcm) {
    return soundIn(pcm);
  },
  async close() {},
};

export function soundIn(pcm: Float32Array): Float32Array {
  return Float32Array.from({ length: Math.ceil(pcm.length / 512) }, (_, frame) =>
    pcm.subarray(frame * 512, (frame + 1) * 512).some((sample) => sample !== 0) ? 1 : 0,
  );
}

/** A number in [0, 1) that depends on its arguments only. */
export function scatter(...values: number[]): number {
  let hash = 2_166_136_261;
  for (const value of values) {
    hash = Math.imul(hash ^ value, 16_777_619);
    hash ^= hash >>> 15;
  }
  return (Math.imul(hash, 2_654_435_761) >>> 8) / 2 ** 24;
}

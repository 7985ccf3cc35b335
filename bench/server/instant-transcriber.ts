// A recogniser that answers at once, with a word every 0.4 s: what is left is what a server does for its streams.

import { setTimeout as delay } from 'node:timers/promises';
import type { TranscribeRequest, TranscribeResult, Transcriber, Word } from '../../src/engine/transcriber.ts';

const [WORD_SAMPLES, PAUSE_SAMPLES] = [5600, 800] as const;
const EVERY_SAMPLES = WORD_SAMPLES + PAUSE_SAMPLES;
/** As a GPU takes; it counts for less, so that no partials are thinned out. */
const ANSWER_MS = 40;

export class InstantTranscriber implements Transcriber {
  readonly info = { name: 'instant', multilingual: true, languages: ['en'] } as const;
  windows = 0;

  load(): ReturnType<Transcriber['load']> {
    const shares = { finalShare: 0.1, partialShare: 0, fileShare: 0, finalShareOfOthers: 0 };
    const seconds = { finalSeconds: 0.001, partialSeconds: 0.001, oldestFinalSeconds: 0, finalDelaySeconds: 0, silentSeconds: 0 };
    return { engines: 2, callers: 1, ...shares, ...seconds };
  }

  async transcribe({ pcm, prefixSamples = 0 }: TranscribeRequest): Promise<TranscribeResult> {
    this.windows++;
    const words: Word[] = [];
    for (let start = Math.ceil(prefixSamples / EVERY_SAMPLES) * EVERY_SAMPLES; start + WORD_SAMPLES <= pcm.length; start += EVERY_SAMPLES) {
      const number = start / EVERY_SAMPLES;
      words.push({ text: ` w${number}`, tokens: [1000 + number], start, end: start + WORD_SAMPLES, probability: 0.9 });
    }
    await delay(ANSWER_MS);
    const found = { language: 'en', languageProbability: 1, noSpeechProbability: 0, averageLogProbability: -0.2 };
    return { words, offset: 0, compressionRatio: 1.2, temperature: 0, ...found };
  }

  async close(): Promise<void> {}
}

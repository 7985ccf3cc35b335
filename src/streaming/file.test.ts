// Whole files with scripted speech: every word once, in order, whatever the blocks; bounded memory; language, errors, cancellation.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import {
  createScriptedTranscriber,
  type Flaws,
  layOut,
  type SpokenWord,
  scatter,
  scriptedDetector,
  synthesize,
  wordText,
} from '../../test/scripted-speech.ts';
import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE, toSamples, toSeconds } from '../core/units.ts';
import type { TranscribeRequest } from '../engine/transcriber.ts';
import { type FileOptions, type FileParts, transcribeAudio, transcribeSegments } from './file.ts';

async function* blocks(words: readonly SpokenWord[], sampleCount: number, length: (n: number) => number) {
  let at = 0;
  for (let n = 0; at < sampleCount; n++) {
    const to = Math.min(sampleCount, at + Math.max(1, length(n)));
    yield synthesize(words, at, to);
    at = to;
  }
}

const usual: FileOptions = { language: 'en', task: 'transcribe', prompt: '', wordTimestamps: true, signal: new AbortController().signal };
const noSleep = async (): Promise<void> => undefined;

function parts(
  words: readonly SpokenWord[],
  flaws: Parameters<typeof createScriptedTranscriber>[1] = {},
  withDetector = true,
): FileParts & { readonly transcriber: { readonly requests: TranscribeRequest[] } } {
  const transcriber = createScriptedTranscriber(words, flaws);
  return { transcriber, speechDetector: withDetector ? scriptedDetector : null, sleep: noSleep };
}

const samples = (lowSeconds: number, highSeconds: number) => fc.integer({ min: toSamples(lowSeconds), max: toSamples(highSeconds) });
const pause = fc.oneof(
  { arbitrary: samples(0, 0.1), weight: 40 },
  { arbitrary: samples(0.3, 1.5), weight: 2 },
  { arbitrary: samples(2, 8), weight: 1 },
);
const speech = fc.array(fc.record({ pause, length: samples(0.1, 0.8) }), { maxLength: 200, size: 'max' }).map(layOut);
/** Hardly any pauses: windows end hard and are chained. */
const breathless = layOut(
  Array.from({ length: 300 }, (_, n) => ({ pause: n % 7 === 0 ? 800 : 0, length: 4000 + Math.floor(scatter(n) * 6000) })),
);
const endOf = (words: readonly SpokenWord[]): number => words.at(-1)?.end ?? 0;

describe('a file', () => {
  test('has every word once and in order, with its times, whatever the pauses and blocks, with and without a detector', async () => {
    await fc.assert(
      fc.asyncProperty(speech, samples(0.1, 4), fc.boolean(), fc.integer({ min: 1, max: 1e6 }), async (words, tail, withDetector, seed) => {
        const sampleCount = endOf(words) + tail;
        const pcm = blocks(words, sampleCount, (n) => Math.floor(scatter(seed, n) * 5 * SAMPLE_RATE));
        const transcript = await transcribeAudio(parts(words, {}, withDetector), pcm, usual);
        const expected = words.map(({ start, end }, index) => ({
          word: wordText(index),
          start: toSeconds(start),
          end: toSeconds(end),
          probability: 0.9,
        }));
        assert.deepEqual(
          transcript.segments.flatMap((segment) => segment.words),
          expected,
        );
        assert.equal(
          transcript.text,
          words
            .map((_, index) => wordText(index))
            .join('')
            .trim(),
        );
        assert.equal(transcript.duration, toSeconds(sampleCount));
        assert.deepEqual(
          transcript.segments.map(({ id }) => id),
          transcript.segments.map((_, index) => index),
        );
      }),
      { numRuns: 60 },
    );
  });

  test('is the same for any block length, even with noisy word times', async () => {
    const distort: Flaws['distort'] = (heard, request) =>
      heard.map((word, n) => {
        const shift = Math.round((scatter(request.pcm.length, n) - 0.5) * 6400);
        return { ...word, start: word.start + shift, end: word.end + shift };
      });
    const texts = [];
    for (const length of [160, 100_000, 1e9]) {
      const transcript = await transcribeAudio(
        parts(breathless, { distort }),
        blocks(breathless, endOf(breathless), () => length),
        usual,
      );
      texts.push(transcript);
      let cursor = 0;
      for (const segment of transcript.segments) {
        assert.ok(segment.start >= cursor && segment.end > segment.start);
        cursor = segment.start;
      }
    }
    assert.deepEqual(texts[0], texts[1]);
    assert.deepEqual(texts[0], texts[2]);
  });

  test('without a pause is decoded in a chain: each window is forced through the last words of the one before', async () => {
    const { transcriber, ...rest } = parts(breathless);
    await transcribeAudio(
      { transcriber, ...rest },
      blocks(breathless, endOf(breathless), () => 50_000),
      usual,
    );
    const [first, ...later] = transcriber.requests;
    assert.equal(first!.prefixSamples, 0);
    assert.ok(later.length > 3 && later.every((request) => request.prefixSamples! > 3 * SAMPLE_RATE && request.prefix!.length > 5));
    assert.ok(transcriber.requests.every((request) => request.pcm.length <= 28 * SAMPLE_RATE && request.priority === 'file'));
  });

  test('with pauses is decoded in several windows at a time, at most as many as allowed', async () => {
    const words = layOut(Array.from({ length: 200 }, (_, n) => ({ pause: n % 20 === 0 ? 16_000 : 1000, length: 8000 })));
    let running = 0;
    let most = 0;
    const before = async (): Promise<void> => {
      most = Math.max(most, ++running);
      await turn();
      running--;
    };
    for (const [concurrency, expected] of [
      [1, 1],
      [3, 3],
    ] as const) {
      most = 0;
      const transcript = await transcribeAudio(
        { ...parts(words, { before }), concurrency },
        blocks(words, endOf(words), () => 1e6),
        usual,
      );
      assert.equal(most, expected);
      assert.equal(transcript.text.split(' ').length, 200);
    }
  });

  test('has a listener for each window that is out, of which Node.js does not warn', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on('warning', onWarning);
    const words = layOut(Array.from({ length: 40 }, () => ({ pause: 3 * SAMPLE_RATE, length: SAMPLE_RATE })));
    let most = 0;
    let out = 0;
    const before = async (_: TranscribeRequest, signal?: AbortSignal): Promise<void> => {
      const onAbort = (): void => undefined;
      signal?.addEventListener('abort', onAbort);
      most = Math.max(most, ++out);
      for (let n = 0; n < 100; n++) await turn();
      out--;
      signal?.removeEventListener('abort', onAbort);
    };
    await transcribeAudio(
      { ...parts(words, { before }), concurrency: 16 },
      blocks(words, endOf(words), () => SAMPLE_RATE),
      usual,
    );
    await turn();
    process.off('warning', onWarning);
    assert.equal(most, 16);
    assert.deepEqual(warnings, []);
  });

  test('of an hour holds a few windows at a time and yields segments on the way', async () => {
    const words = layOut(Array.from({ length: 3600 }, (_, n) => ({ pause: n % 15 === 0 ? 10_000 : 4000, length: 12_000 })));
    let consumed = 0;
    let furthestAhead = 0;
    const counted = async function* () {
      for await (const block of blocks(words, endOf(words), () => SAMPLE_RATE)) {
        consumed += block.length;
        yield block;
      }
    };
    const detector = {
      ...scriptedDetector,
      detect: async (pcm: Float32Array) =>
        Float32Array.from({ length: Math.ceil(pcm.length / 512) }, (_, i) => (pcm[i * 512] === 0 ? 0 : 1)),
    };
    let segmentCount = 0;
    const stream = transcribeSegments({ ...parts(words), speechDetector: detector }, counted(), usual);
    for await (const segment of stream) {
      segmentCount++;
      furthestAhead = Math.max(furthestAhead, consumed - segment.end * SAMPLE_RATE);
    }
    assert.ok(segmentCount > 300);
    // 6 windows out, one being planned with its look-ahead, and a block of scores.
    assert.ok(furthestAhead < 260 * SAMPLE_RATE, `${furthestAhead / SAMPLE_RATE} s`);
  });

  test('finds its language in the first confident window and keeps it', async () => {
    const words = layOut(Array.from({ length: 100 }, (_, n) => ({ pause: n % 10 === 0 ? 40_000 : 1000, length: 8000 })));
    const language = (request: TranscribeRequest) =>
      scatter(request.pcm.length) < 2 ? { language: 'de', probability: seen++ === 0 ? 0.3 : 0.8 } : { language: 'en', probability: 1 };
    let seen = 0;
    const { transcriber, ...rest } = parts(words, { language });
    const transcript = await transcribeAudio(
      { transcriber, ...rest },
      blocks(words, endOf(words), () => 1e6),
      { ...usual, language: null },
    );
    assert.equal(transcript.language, 'de');
    assert.deepEqual(
      transcriber.requests.slice(0, 4).map((request) => request.language),
      [null, null, 'de', 'de'],
    );
  });

  test('without speech asks the transcriber nothing; without samples is refused', async () => {
    const { transcriber, ...rest } = parts([]);
    const progress: number[] = [];
    const transcript = await transcribeAudio(
      { transcriber, ...rest },
      blocks([], 10 * SAMPLE_RATE, () => 4000),
      { ...usual, language: null, onProgress: (seconds) => progress.push(seconds) },
    );
    assert.deepEqual(transcript, { text: '', language: 'und', duration: 10, segments: [] });
    assert.deepEqual(progress, [10]);
    assert.equal(transcriber.requests.length, 0);
    await assert.rejects(
      transcribeAudio(
        parts([]),
        blocks([], 0, () => 1),
        usual,
      ),
      { code: 'no_audio' },
    );
  });

  test('is tried again under overload, and fails as a whole when that does not help', async () => {
    let failures = 0;
    const overloaded = (limit: number) => () => {
      if (failures++ < limit) throw new WhisperError('overloaded', 'full');
    };
    const again = await transcribeAudio(
      parts(breathless, { before: overloaded(3) }),
      blocks(breathless, endOf(breathless), () => 1e6),
      usual,
    );
    assert.equal(again.text.split(' ').length, breathless.length);
    await assert.rejects(
      transcribeAudio(
        parts(breathless, { before: overloaded(1e9) }),
        blocks(breathless, endOf(breathless), () => 1e6),
        usual,
      ),
      { code: 'overloaded' },
    );
  });

  test('gives the reason of an abort, and stops what runs when its reader leaves', async () => {
    const signals: AbortSignal[] = [];
    const before = (_: TranscribeRequest, signal?: AbortSignal) => {
      signals.push(signal!);
      if (signals.length <= 2) return;
      return new Promise<void>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    };
    const words = layOut(Array.from({ length: 100 }, (_, n) => ({ pause: n % 10 === 0 ? 40_000 : 1000, length: 8000 })));
    const controller = new AbortController();
    const failing = transcribeAudio(
      parts(words, { before }),
      blocks(words, endOf(words), () => 1e6),
      { ...usual, signal: controller.signal },
    );
    await turn();
    controller.abort(new WhisperError('going_away', 'bye'));
    await assert.rejects(failing, { code: 'going_away' });
    signals.length = 0;
    for await (const _ of transcribeSegments(
      { ...parts(words, { before }), concurrency: 2 },
      blocks(words, endOf(words), () => 1e6),
      usual,
    ))
      break;
    assert.ok(signals.length === 3 && signals.every((signal) => signal.aborted));
  });

  test('passes on what its source throws', async () => {
    const source = async function* () {
      yield new Float32Array(1000);
      throw new WhisperError('undecodable_audio', 'bad bytes');
    };
    await assert.rejects(transcribeAudio(parts([]), source(), usual), { code: 'undecodable_audio' });
  });
});

// Which windows share a batch, what happens when one does not fit, fails or is cancelled; on a decoder that only says what it was given.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testModelDir } from '../../test/models.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import { readModelConfig } from '../model/config.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { type BatchDecoder, BatchEngine, type BatchEngineOptions, isOutOfMemory } from './batch-engine.ts';
import type { DecodedText } from './decode.ts';
import { allPositions } from './positions.ts';
import { DEFAULT_RULES } from './rules.ts';
import type { TranscribeRequest } from './transcriber.ts';
import type { EncodedJob } from './window-session.ts';

const dir = await testModelDir('base');
const config = await readModelConfig(dir);
const tokenizer = await loadTokenizer(dir, { multilingual: true });
const ENGLISH = tokenizer.special.languageTokens.get('en') as number;
const TEXT = tokenizer.encode(' Well.');

interface Batch {
  /** Seconds of audio, the margin included. */
  readonly seconds: readonly number[];
  readonly beams: number;
  readonly limits: readonly number[];
}

/** A decoder that hears the same in every window; `before` may throw or wait. */
function scripted(before: (batch: Batch, count: number) => unknown = () => {}, logProbability = -0.1, language = ENGLISH) {
  const batches: Batch[] = [];
  let closed = 0;
  const decoder: BatchDecoder = {
    config,
    async decode(windows: readonly EncodedJob[], { beams }) {
      const batch = {
        seconds: windows.map(({ pcm }) => pcm.length / SAMPLE_RATE),
        beams,
        limits: windows.map(({ job }) => job.limit),
      };
      batches.push(batch);
      await before(batch, batches.length);
      const texts = windows.map(({ job, pcm }): DecodedText => {
        const tokens = job.limit === 1 ? [language] : TEXT;
        const rows = job.initial.length - job.alignIndex + tokens.length;
        const positions = pcm.length / 320;
        return {
          tokens,
          logProbabilities: [...tokens.map(() => logProbability), logProbability],
          ended: true,
          noSpeechProbability: 0,
          alignment: new Float32Array(config.alignmentHeads.length * rows * positions),
          alignmentRows: rows,
          positions: allPositions(positions).indices,
        };
      });
      return { texts, steps: 3 };
    },
    async close() {
      closed++;
    },
  };
  return { decoder, batches, closes: () => closed };
}

const engineOn = (decoder: BatchDecoder, options: Partial<BatchEngineOptions> = {}): BatchEngine =>
  new BatchEngine(decoder, tokenizer, { rules: DEFAULT_RULES, maxBatch: 4, maxPositions: 1e9, ...options });

const request = (seconds: number, change: Partial<TranscribeRequest> = {}): TranscribeRequest => ({
  pcm: new Float32Array(seconds * SAMPLE_RATE),
  language: 'en',
  ...change,
});

const sizes = (batches: readonly Batch[]): number[] => batches.map(({ seconds }) => seconds.length);

test('windows that come together are one batch, and those that come while it runs the next', async () => {
  let engine: BatchEngine;
  const late: Promise<unknown>[] = [];
  const { batches, decoder } = scripted((_, count) => {
    if (count === 1) late.push(...[5, 6].map((seconds) => engine.submit(request(seconds)).answer));
  });
  engine = engineOn(decoder);
  await Promise.all([1, 2, 3].map((seconds) => engine.submit(request(seconds)).answer));
  await Promise.all(late);
  assert.deepEqual(sizes(batches), [3, 2]);
  assert.deepEqual(batches[0]?.seconds, [4, 5, 6]);
});

test('a batch holds at most maxBatch windows, and as many positions as fit, padding included', async () => {
  const { batches, decoder } = scripted();
  const engine = engineOn(decoder, { maxPositions: 3 * 650 });
  // 10 s and the margin are 650 positions: three fit; 20 s are 1150, of which one does.
  await Promise.all([10, 10, 10, 10, 20, 1, 1, 1, 1, 1].map((seconds) => engine.submit(request(seconds)).answer));
  assert.deepEqual(
    batches.map(({ seconds }) => seconds),
    [[13, 13, 13], [13, 4, 4], [23], [4, 4, 4]],
  );
});

test('finals come first, then partials, then files', async () => {
  const { batches, decoder } = scripted();
  const engine = engineOn(decoder, { maxBatch: 2 });
  const priorities = ['file', 'partial', 'final', 'file', 'final', 'partial'] as const;
  await Promise.all(priorities.map((priority, i) => engine.submit(request(i + 1, { priority })).answer));
  assert.deepEqual(
    batches.map(({ seconds }) => seconds.map((s) => s - 4)),
    [
      [2, 4],
      [1, 5],
      [0, 3],
    ],
  );
});

test('a window whose language is not known is asked for it first, beside others like it', async () => {
  const { batches, decoder } = scripted();
  const engine = engineOn(decoder);
  const answers = await Promise.all([
    engine.submit(request(1, { language: null })).answer,
    engine.submit(request(2)).answer,
    engine.submit(request(3, { language: null })).answer,
  ]);
  assert.deepEqual(
    batches.map(({ limits, seconds }) => [seconds, limits.every((limit) => limit === 1)]),
    [
      [[4, 6], true],
      [[4, 6, 5], false],
    ],
  );
  assert.deepEqual(
    answers.map(({ result }) => result.language),
    ['en', 'en', 'en'],
  );
  assert.ok(answers[0]?.result.languageProbability !== 1);
});

test('a device that names no language fails the windows that asked for one, and no others', async () => {
  const { decoder } = scripted(() => {}, Number.NaN, 7);
  const engine = engineOn(decoder, { rules: { ...DEFAULT_RULES, temperatures: [] } });
  await assert.rejects(engine.submit(request(1, { language: null })).answer, /token 7 is no language/);
  // Log-probabilities that are no numbers are no good text: everything is tried, and the result says nothing wrong.
  const { cost, result } = await engine.submit(request(1)).answer;
  assert.equal(cost.attempts, 2);
  assert.ok(Number.isNaN(result.averageLogProbability));
});

test('what is doubtful is searched with beams in a batch of its own, which takes more room', async () => {
  const { batches, decoder } = scripted(() => {}, -0.5);
  const engine = engineOn(decoder, { maxPositions: 5 * 650 });
  const answers = await Promise.all([10, 10].map((seconds) => engine.submit(request(seconds)).answer));
  assert.deepEqual(
    batches.map(({ beams, seconds }) => [beams, seconds.length]),
    [
      [1, 2],
      [5, 1],
      [5, 1],
    ],
  );
  assert.deepEqual(
    answers.map(({ cost }) => cost.attempts),
    [2, 2],
  );
});

test('a batch that does not fit comes again in smaller ones, later ones are smaller from the start, and nothing is lost', async () => {
  const { batches, decoder } = scripted(({ seconds }) => {
    if (seconds.length > 2) throw new Error('CUDA failure 2: out of memory ; GPU=0');
  });
  let outOfMemory = 0;
  const engine = engineOn(decoder, { maxBatch: 8, onOutOfMemory: () => outOfMemory++ });
  const run = () => Promise.all(Array.from({ length: 8 }, () => engine.submit(request(10)).answer));
  assert.equal((await run()).length, 8);
  assert.deepEqual(sizes(batches), [8, 4, 2, 2, 2, 2]);
  assert.equal(outOfMemory, 2);
  await run();
  assert.deepEqual(sizes(batches.slice(6)), [2, 2, 2, 2]);
  assert.equal(outOfMemory, 2);
});

test('one window that does not fit fails alone, and the engine goes on', async () => {
  const { decoder } = scripted(({ seconds }) => {
    if (seconds.some((s) => s > 20)) throw new Error('Failed to allocate memory for requested buffer of size 1073741824');
  });
  const engine = engineOn(decoder);
  const settled = await Promise.allSettled([10, 20, 10].map((seconds) => engine.submit(request(seconds)).answer));
  assert.deepEqual(
    settled.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.equal((await engine.submit(request(3)).answer).result.words.length, 1);
});

test('an error fails the batch; three in a row, and the device is broken', async () => {
  let broken = 0;
  let fails = true;
  const { decoder } = scripted(() => {
    if (fails) throw new Error('CUDA failure 700: an illegal memory access was encountered');
  });
  const engine = engineOn(decoder, { onBroken: () => broken++ });
  const one = () => engine.submit(request(1)).answer;
  await assert.rejects(one, /illegal/);
  await assert.rejects(one, /illegal/);
  fails = false;
  await one();
  fails = true;
  await assert.rejects(one, /illegal/);
  await assert.rejects(one, /illegal/);
  assert.equal(broken, 0);
  await assert.rejects(one, /illegal/);
  assert.equal(broken, 1);
});

test('a cancelled window that waits is not decoded; one that runs is not answered, and tries nothing more', async () => {
  let running!: { answer: Promise<unknown>; cancel: () => void };
  const { batches, decoder } = scripted((_, count) => {
    if (count === 1) running.cancel();
  }, -0.5);
  const engine = engineOn(decoder, { maxBatch: 1 });
  running = engine.submit(request(1));
  let isAnswered = false;
  void running.answer.then(() => {
    isAnswered = true;
  });
  const waiting = engine.submit(request(2));
  const last = engine.submit(request(3));
  waiting.cancel();
  await last.answer;
  assert.deepEqual(
    batches.map(({ beams, seconds }) => [beams, seconds[0]]),
    [
      [1, 4],
      [1, 6],
      [5, 6],
    ],
  );
  assert.equal(isAnswered, false);
});

test('close lets the batch that runs end, gives up what waits, and closes the decoder', async () => {
  const { batches, closes, decoder } = scripted();
  const engine = engineOn(decoder, { maxBatch: 1 });
  const running = engine.submit(request(1)).answer;
  await new Promise((resolve) => setImmediate(resolve));
  let isWaitingAnswered = false;
  void engine.submit(request(2)).answer.then(() => {
    isWaitingAnswered = true;
  });
  await Promise.all([engine.close(), running]);
  assert.deepEqual([sizes(batches), closes(), isWaitingAnswered], [[1], 1, false]);
});

test('a prefix of more than half the positions is refused by name', async () => {
  const { decoder } = scripted();
  await assert.rejects(engineOn(decoder).submit(request(1, { prefix: new Array(225).fill(1) })).answer, {
    code: 'invalid_parameter',
    message: /prefix.*225/,
  });
});

test('out of memory is told from other failures', () => {
  for (const message of [
    'BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 536870912',
    'CUDA failure 2: out of memory ; GPU=0 ; hostname=x',
    'CUBLAS failure 3: the resource allocation failed ; GPU=0',
    'CUDNN failure 2: CUDNN_STATUS_ALLOCATION_FAILED',
    'Failed to create GPU buffer: size=1073741824',
    'std::bad_alloc',
  ])
    assert.ok(isOutOfMemory(new Error(message)), message);
  for (const message of ['CUDA failure 700: an illegal memory access was encountered', 'Non-zero status code returned'])
    assert.ok(!isOutOfMemory(new Error(message)), message);
});

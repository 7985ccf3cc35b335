// The engine's queue and its second attempts, on a real model: order, cancellation, failures, retries that end and are the same each time.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { testSession } from '../../test/engine.ts';
import { goldenClip, readGolden } from '../../test/golden/golden.ts';
import { Engine } from './engine.ts';
import { DEFAULT_RULES, type DecodingRules } from './rules.ts';
import type { TranscribeRequest, TranscribeResult } from './transcriber.ts';

const { session, tokenizer } = await testSession('tiny.en', 'int8');
after(() => session.close());

const clip = goldenClip();
const TEXT = readGolden('tiny.en').greedy.text;
/** Every decode is good: one attempt. */
const CONTENT = { beamThreshold: -Infinity, logProbabilityThreshold: -Infinity, compressionRatioThreshold: Infinity };
/** Every decode is bad: all attempts are made. */
const NEVER_CONTENT = { logProbabilityThreshold: 0, noSpeechThreshold: 1, beams: 2, temperatures: [0.4, 0.8] };

function engineWith(rules: Partial<DecodingRules>, maxBatch = 1): Engine {
  return new Engine(session, tokenizer, { rules: { ...DEFAULT_RULES, ...rules }, maxBatch });
}

const request = (change: Partial<TranscribeRequest> = {}): TranscribeRequest => ({ pcm: clip, language: 'en', ...change });
const lowerText = ({ words }: TranscribeResult): string =>
  words
    .map(({ text }) => text)
    .join('')
    .toLowerCase();

test('finals go before partials, and partials before files; what runs is not interrupted', async () => {
  const engine = engineWith(CONTENT);
  const order: string[] = [];
  const submit = (name: string, priority: 'final' | 'partial' | 'file') =>
    engine.submit(request({ pcm: clip.subarray(0, 16_000), priority })).result.then(() => order.push(name));
  await Promise.all([
    submit('file that runs', 'file'),
    submit('file', 'file'),
    submit('partial', 'partial'),
    submit('final', 'final'),
    submit('final after', 'final'),
  ]);
  assert.deepEqual(order, ['file that runs', 'final', 'final after', 'partial', 'file']);
});

test('a cancelled window is never answered, whether it waits or runs, and the others are', async () => {
  const engine = engineWith(CONTENT, 2);
  const answered: number[] = [];
  const works = [0, 1, 2, 3].map((i) => {
    const work = engine.submit(request());
    void work.result.then(() => answered.push(i));
    return work;
  });
  works[0]?.cancel();
  works[3]?.cancel();
  await Promise.all([works[1]?.result, works[2]?.result]);
  assert.equal(lowerText(await engine.submit(request()).result), TEXT.toLowerCase());
  assert.deepEqual(answered.toSorted(), [1, 2]);
});

test('a request that onnxruntime refuses fails with its reason, and the engine goes on', async () => {
  const engine = engineWith(CONTENT);
  const tooMany = new Array(session.config.maxTextPositions + 10).fill(tokenizer.encode(' word')[0]);
  await assert.rejects(engine.submit(request({ prefix: tooMany })).result);
  assert.equal(lowerText(await engine.submit(request()).result), TEXT.toLowerCase());
});

test('attempts that never satisfy end with the best of them, the same each time and in any company', async () => {
  const alone = await engineWith(NEVER_CONTENT).submit(request()).result;
  assert.equal(lowerText(alone), TEXT.toLowerCase());
  const engine = engineWith(NEVER_CONTENT, 3);
  const others = [0, 1, 2].map(() => engine.submit(request()).result);
  for (const result of await Promise.all(others)) assert.equal(lowerText(result), lowerText(alone));
});

test('a retry without the prefix starts after it, with times from the start of the window', async () => {
  const prefixSamples = 20_000;
  const prefix = tokenizer.encode(' quite another sentence that nobody said');
  const { offset, words } = await engineWith(NEVER_CONTENT).submit(request({ prefix, prefixSamples })).result;
  assert.ok(offset === 0 || offset === prefixSamples);
  for (const { start, end } of words) assert.ok(offset <= start && start <= end && end <= clip.length);
});

test('words that are surely no speech are dropped', async () => {
  const rules = { logProbabilityThreshold: 0, noSpeechThreshold: -1 };
  const { words, noSpeechProbability } = await engineWith(rules).submit(request()).result;
  assert.deepEqual(words, []);
  assert.ok(noSpeechProbability >= 0 && noSpeechProbability < 0.5);
});

test('audio of no length and of more than 30 s is answered', async () => {
  const engine = engineWith(CONTENT);
  const none = await engine.submit(request({ pcm: new Float32Array(0) })).result;
  for (const { start, end } of none.words) assert.deepEqual([start, end], [0, 0]);
  const long = new Float32Array(31 * 16_000);
  long.set(clip);
  assert.ok(lowerText(await engine.submit(request({ pcm: long })).result).startsWith(TEXT.toLowerCase().slice(0, -1)));
});

test('close lets the running window end and gives up those that wait', async () => {
  const own = await testSession('tiny.en', 'int8');
  const engine = new Engine(own.session, own.tokenizer, { rules: DEFAULT_RULES, maxBatch: 1 });
  let isWaitingAnswered = false;
  const running = engine.submit(request()).result;
  void engine.submit(request()).result.then(() => {
    isWaitingAnswered = true;
  });
  await engine.close();
  assert.equal(lowerText(await running), TEXT.toLowerCase());
  assert.equal(isWaitingAnswered, false);
});

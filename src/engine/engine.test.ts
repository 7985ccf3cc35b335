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

/** Submits and waits for the result alone. */
async function transcribe(engine: Engine, asked: TranscribeRequest): Promise<TranscribeResult> {
  return (await engine.submit(asked).answer).result;
}

const request = (change: Partial<TranscribeRequest> = {}): TranscribeRequest => ({ pcm: clip, language: 'en', ...change });
const lowerText = ({ words }: TranscribeResult): string =>
  words
    .map(({ text }) => text)
    .join('')
    .toLowerCase();

test('windows start in the order in which they came, and the text is the same in company and alone', async () => {
  for (const maxBatch of [1, 3]) {
    const engine = engineWith(CONTENT, maxBatch);
    const order: number[] = [];
    const texts = await Promise.all(
      [0, 1, 2, 3].map(async (i) => {
        const { result } = await engine.submit(request()).answer;
        order.push(i);
        return lowerText(result);
      }),
    );
    assert.deepEqual(order, [0, 1, 2, 3]);
    for (const text of texts) assert.equal(text, TEXT.toLowerCase());
  }
});

test('finals start before partials, and partials before files; what runs is not interrupted', async () => {
  const engine = engineWith(CONTENT);
  const order: string[] = [];
  const submit = async (name: string, priority: 'final' | 'partial' | 'file') => {
    await engine.submit(request({ pcm: clip.subarray(0, 16_000), priority })).answer;
    order.push(name);
  };
  await Promise.all([
    submit('file that runs', 'file'),
    submit('file', 'file'),
    submit('partial', 'partial'),
    submit('final', 'final'),
    submit('final after', 'final'),
  ]);
  assert.deepEqual(order, ['file that runs', 'final', 'final after', 'partial', 'file']);
});

test('a partial is decoded once: where that fails, it has no words', async () => {
  const { result, cost } = await engineWith(NEVER_CONTENT).submit(request({ priority: 'partial' })).answer;
  assert.deepEqual([result.words, cost.attempts], [[], 1]);
  const fine = await engineWith({ beamThreshold: 0 }).submit(request({ priority: 'partial' })).answer;
  assert.deepEqual([lowerText(fine.result), fine.cost.attempts], [TEXT.toLowerCase(), 1]);
});

test('words that will be heard again are not searched for', async () => {
  // Every token is in doubt.
  const engine = engineWith({ ...CONTENT, beamThreshold: 0, settledProbability: 0.9999999 });
  const attempts = async (searchUntil?: number) =>
    (await engine.submit(request(searchUntil === undefined ? {} : { searchUntil })).answer).cost.attempts;
  const { words } = await transcribe(engine, request({ searchUntil: 0 }));
  const firstEnd = words[0]?.end as number;
  assert.deepEqual([await attempts(), await attempts(clip.length), await attempts(firstEnd)], [2, 2, 2]);
  assert.deepEqual([await attempts(0), await attempts(firstEnd - 1)], [1, 1]);
});

test('a draft saves steps and changes nothing; the cost tells how many tokens were right', async (context) => {
  // In int8, kernels round otherwise for several tokens than for one.
  const exact = await testSession('tiny.en', 'float32');
  context.after(() => exact.session.close());
  const engine = new Engine(exact.session, exact.tokenizer, { rules: { ...DEFAULT_RULES, ...CONTENT }, maxBatch: 1 });
  const { result: plain, cost: without } = await engine.submit(request()).answer;
  const tokens = plain.words.flatMap((word) => word.tokens);
  assert.equal(without.draftTokens + without.acceptedTokens, 0);
  assert.ok(without.steps >= tokens.length && without.encodeMs > 0 && without.decodeMs > 0 && without.batchRows === 1);
  for (const [draft, accepted] of [
    [tokens, tokens.length],
    [tokens.slice(0, 3), 3],
    [[...tokens.slice(0, 2), tokens[0] as number, ...tokens.slice(3)], 2],
    [[...tokens, ...tokens], tokens.length],
  ] as const) {
    const { result, cost } = await engine.submit(request({ draft })).answer;
    assert.deepEqual(
      result.words.map(({ text, start, end }) => [text, start, end]),
      plain.words.map(({ text, start, end }) => [text, start, end]),
    );
    assert.deepEqual([cost.draftTokens, cost.acceptedTokens], [draft.length, accepted]);
    assert.equal(cost.steps, without.steps - accepted);
  }
});

test('a cancelled window is never answered, whether it waits or runs, and the others are', async () => {
  const engine = engineWith(CONTENT, 2);
  const answered: number[] = [];
  const works = [0, 1, 2, 3].map((i) => {
    const work = engine.submit(request());
    void work.answer.then(() => answered.push(i));
    return work;
  });
  works[0]?.cancel();
  works[3]?.cancel();
  await Promise.all([works[1]?.answer, works[2]?.answer]);
  assert.equal(lowerText(await transcribe(engine, request())), TEXT.toLowerCase());
  assert.deepEqual(answered.toSorted(), [1, 2]);
});

test('a request that onnxruntime refuses fails with its reason, and the engine goes on', async () => {
  const engine = engineWith(CONTENT);
  const tooMany = new Array(session.config.maxTextPositions + 10).fill(tokenizer.encode(' word')[0]);
  await assert.rejects(transcribe(engine, request({ prefix: tooMany })));
  assert.equal(lowerText(await transcribe(engine, request())), TEXT.toLowerCase());
});

test('attempts that never satisfy end with the best of them, the same each time and in any company', async () => {
  const alone = await transcribe(engineWith(NEVER_CONTENT), request());
  assert.equal(lowerText(alone), TEXT.toLowerCase());
  const engine = engineWith(NEVER_CONTENT, 3);
  const others = [0, 1, 2].map(() => transcribe(engine, request()));
  for (const result of await Promise.all(others)) assert.equal(lowerText(result), lowerText(alone));
});

test('a retry without the prefix starts after it, with times from the start of the window', async () => {
  const prefixSamples = 20_000;
  const prefix = tokenizer.encode(' quite another sentence that nobody said');
  const { offset, words } = await transcribe(engineWith(NEVER_CONTENT), request({ prefix, prefixSamples }));
  assert.ok(offset === 0 || offset === prefixSamples);
  for (const { start, end } of words) assert.ok(offset <= start && start <= end && end <= clip.length);
});

test('words that are surely no speech are dropped', async () => {
  const rules = { logProbabilityThreshold: 0, noSpeechThreshold: -1 };
  const { words, noSpeechProbability } = await transcribe(engineWith(rules), request());
  assert.deepEqual(words, []);
  assert.ok(noSpeechProbability >= 0 && noSpeechProbability < 0.5);
});

test('audio of no length and of more than 30 s is answered', async () => {
  const engine = engineWith(CONTENT);
  const none = await transcribe(engine, request({ pcm: new Float32Array(0) }));
  for (const { start, end } of none.words) assert.deepEqual([start, end], [0, 0]);
  const long = new Float32Array(31 * 16_000);
  long.set(clip);
  assert.ok(lowerText(await transcribe(engine, request({ pcm: long }))).startsWith(TEXT.toLowerCase().slice(0, -1)));
});

test('close lets the running window end and gives up those that wait', async () => {
  const own = await testSession('tiny.en', 'int8');
  const engine = new Engine(own.session, own.tokenizer, { rules: DEFAULT_RULES, maxBatch: 1 });
  let isWaitingAnswered = false;
  const running = transcribe(engine, request());
  void transcribe(engine, request()).then(() => {
    isWaitingAnswered = true;
  });
  await engine.close();
  assert.equal(lowerText(await running), TEXT.toLowerCase());
  assert.equal(isWaitingAnswered, false);
});

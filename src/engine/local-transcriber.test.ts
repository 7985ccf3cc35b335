// The local Transcriber: conformance with a real model, and its queue, crashes and closing on a thread that behaves on command.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { TEST_THREADS, testGraphsDir } from '../../test/engine.ts';
import { goldenClip, readGolden } from '../../test/golden/golden.ts';
import { testModelDir } from '../../test/models.ts';
import { transcriberConformance } from '../../test/transcriber-conformance.ts';
import { WhisperError } from '../core/errors.ts';
import { createTranscriber } from './create.ts';
import type { WindowCost } from './engine-messages.ts';
import {
  connectTranscriber,
  type LocalTranscriberOptions,
  type TranscriberListeners,
  type WindowObservation,
} from './local-transcriber.ts';
import type { TranscribeRequest, Transcriber } from './transcriber.ts';

transcriberConformance('the local transcriber', async () => ({
  // Searched with beams: of the sentence's two spellings that greedy decoding wavers between, they find the likelier one.
  transcriber: await createTranscriber({
    modelDir: await testModelDir('tiny.en'),
    modelName: 'tiny.en',
    graphsDir: testGraphsDir(),
    threads: TEST_THREADS,
    rules: { beamThreshold: 0 },
  }),
  pcm: goldenClip(),
  language: 'en',
  text: readGolden('tiny.en').greedy.text,
}));

const COST: WindowCost = {
  encodeMs: 100,
  decodeMs: 300,
  steps: 10,
  batchRows: 1,
  tokens: 11,
  draftTokens: 0,
  acceptedTokens: 0,
  attempts: 1,
};

/** Does what the prompt says, and tells in `language` how many cancels it was sent, in `compressionRatio` who it is. */
const OBEDIENT_WORKER = `
const { parentPort, threadId } = require('node:worker_threads');
const cost = ${JSON.stringify(COST)};
let cancels = 0;
parentPort.on('message', ({ kind, id, request }) => {
  if (kind === 'cancel') cancels++;
  if (kind === 'close') parentPort.close();
  if (kind !== 'transcribe') return;
  const result = { words: [], offset: request.pcm.length, language: String(cancels), compressionRatio: threadId };
  const answer = () => parentPort.postMessage({ kind: 'result', id, result, cost });
  if (request.promptText === 'crash') throw new Error('as told');
  if (request.promptText === 'exit') process.exit(3);
  if (request.promptText === 'fail') parentPort.postMessage({ kind: 'failed', id, code: 'internal', message: 'as told' });
  if (request.promptText === 'later') setTimeout(answer, 30);
  if (request.promptText === '') answer();
});
parentPort.postMessage({ kind: 'ready', languages: ['en', 'xx'] });
`;

// Requests that are held for ever would keep a close from ending.
const workers: Worker[] = [];
after(() => Promise.all(workers.map((worker) => worker.terminate())));

interface Opened extends Partial<LocalTranscriberOptions>, TranscriberListeners {
  readonly engines?: number;
  readonly code?: string;
}

async function open({ engines = 1, code = OBEDIENT_WORKER, ...options }: Opened = {}): Promise<Transcriber> {
  const started = Array.from({ length: engines }, () => new Worker(code, { eval: true }));
  workers.push(...started);
  return connectTranscriber(started, { name: 'toy', multilingual: true }, { maxQueue: 4, maxBatch: 4, ...options }, options);
}

/** `hold` is never answered. */
type Order = '' | 'hold' | 'later' | 'fail' | 'crash' | 'exit';

function ask(transcriber: Transcriber, order: Order, signal?: AbortSignal, change: Partial<TranscribeRequest> = {}) {
  return transcriber.transcribe({ pcm: new Float32Array(8), language: 'en', promptText: order, ...change }, signal);
}

const isError =
  (code: string, message = /./) =>
  (error: unknown) =>
    error instanceof WhisperError && error.code === code && message.test(error.message);

test('the languages are those of the model, or English alone', async () => {
  assert.deepEqual((await open()).info, { name: 'toy', multilingual: true, languages: ['en', 'xx'] });
  const worker = new Worker(OBEDIENT_WORKER, { eval: true });
  const english = await connectTranscriber([worker], { name: 'toy.en', multilingual: false }, { maxQueue: 4, maxBatch: 4 });
  assert.deepEqual(english.info.languages, ['en']);
  await english.close();
});

test('a full queue refuses as overloaded, says when to come again, and takes more once there is room', async () => {
  const transcriber = await open({ maxQueue: 2 });
  const controller = new AbortController();
  const held = [ask(transcriber, 'hold', controller.signal), ask(transcriber, 'hold', controller.signal)];
  await assert.rejects(
    ask(transcriber, ''),
    (error) => isError('overloaded', /2 windows/)(error) && (error as WhisperError).retryAfterSeconds === 1,
  );
  controller.abort();
  for (const promise of held) await assert.rejects(promise, isError('cancelled'));
  assert.equal((await ask(transcriber, '')).offset, 8);
  await transcriber.close();
});

test('an abort tells the thread, frees the place and leaves the others alone', async () => {
  const transcriber = await open({ maxQueue: 2 });
  const controller = new AbortController();
  const doomed = ask(transcriber, 'hold', controller.signal);
  const other = ask(transcriber, 'later');
  controller.abort();
  controller.abort();
  await assert.rejects(doomed, isError('cancelled'));
  assert.equal((await other).language, '0', 'answered in the order of the queue');
  assert.equal((await ask(transcriber, '')).language, '1', 'one cancel arrived');
  // A request that was aborted before is not sent at all.
  await assert.rejects(ask(transcriber, 'crash', AbortSignal.abort()), isError('cancelled'));
  assert.equal((await ask(transcriber, '')).language, '1');
  await transcriber.close();
});

test('a failed request is internal and fails alone', async () => {
  const transcriber = await open();
  const [failed, fine] = await Promise.allSettled([ask(transcriber, 'fail'), ask(transcriber, '')]);
  assert.equal(failed.status, 'rejected');
  assert.ok(isError('internal')((failed as PromiseRejectedResult).reason));
  assert.equal(fine.status, 'fulfilled');
  await transcriber.close();
});

for (const end of ['crash', 'exit'] as const) {
  test(`a thread that ends by ${end} rejects all that waits and all that comes, and closes`, async () => {
    const transcriber = await open();
    const waiting = [ask(transcriber, 'hold'), ask(transcriber, end), ask(transcriber, '')];
    for (const promise of waiting) await assert.rejects(promise, isError('internal'));
    await assert.rejects(ask(transcriber, ''), isError('internal'));
    await transcriber.close();
    await transcriber.close();
    await assert.rejects(ask(transcriber, ''), isError('internal'));
  });
}

test('the death of the thread is told once, an orderly close is not', async () => {
  for (const [request, expected] of [
    ['crash', 1],
    ['', 0],
  ] as const) {
    let told = 0;
    const transcriber = await open({ engines: 2, onFailure: () => told++ });
    await ask(transcriber, request).catch(() => {});
    await transcriber.close();
    assert.equal(told, expected, request);
  }
});

test('a close right after a crash ends too', async () => {
  const transcriber = await open();
  const doomed = ask(transcriber, 'crash');
  const closing = transcriber.close();
  await assert.rejects(doomed, isError('internal'));
  await closing;
});

test('a thread that dies while it loads is an internal error, not a wait', async () => {
  await assert.rejects(open({ code: 'throw new Error("no model")' }), isError('internal'));
  await assert.rejects(open({ code: 'process.exit(7)' }), isError('internal', /code 7/));
});

test('close waits for what runs, refuses what comes, and ends the thread', async () => {
  const worker = new Worker(OBEDIENT_WORKER, { eval: true });
  const transcriber = await connectTranscriber([worker], { name: 'toy', multilingual: true }, { maxQueue: 4, maxBatch: 4 });
  const exited = once(worker, 'exit');
  const order: string[] = [];
  const running = ask(transcriber, 'later').then(() => order.push('answer'));
  const closing = transcriber.close().then(() => order.push('closed'));
  await assert.rejects(ask(transcriber, ''), isError('going_away'));
  await Promise.all([running, closing, transcriber.close()]);
  assert.deepEqual(order, ['answer', 'closed']);
  assert.deepEqual(await exited, [0]);
});

test('a view is copied: its buffer stays whole, and only its own samples travel', async () => {
  const transcriber = await open();
  const whole = new Float32Array(1000).fill(0.5);
  const { offset } = await ask(transcriber, '', undefined, { pcm: whole.subarray(100, 140) });
  assert.equal(offset, 40);
  assert.equal(whole.length, 1000);
  assert.ok(whole.every((sample) => sample === 0.5));
  await transcriber.close();
});

test('where one thread of several cannot be loaded, the others are closed', async () => {
  const [good, bad] = [new Worker(OBEDIENT_WORKER, { eval: true }), new Worker('process.exit(7)', { eval: true })];
  const exited = once(good, 'exit');
  const opening = connectTranscriber([good, bad], { name: 'toy', multilingual: true }, { maxQueue: 4, maxBatch: 4 });
  await assert.rejects(opening, isError('internal', /code 7/));
  assert.deepEqual(await exited, [0]);
});

test('the end of one thread rejects what the others run', async () => {
  const transcriber = await open({ engines: 2 });
  const waiting = [ask(transcriber, 'hold'), ask(transcriber, 'crash')];
  for (const promise of waiting) await assert.rejects(promise, isError('internal'));
  await assert.rejects(ask(transcriber, ''), isError('internal'));
  await transcriber.close();
});

test('engines share the work', async () => {
  const transcriber = await open({ engines: 2, maxQueue: 8 });
  const results = await Promise.all(Array.from({ length: 8 }, () => ask(transcriber, 'later')));
  const counts = new Map<number, number>();
  for (const { compressionRatio: thread } of results) counts.set(thread, (counts.get(thread) ?? 0) + 1);
  assert.deepEqual([...counts.values()], [4, 4]);
  await transcriber.close();
});

test('an engine that never answers does not block the other', async () => {
  const transcriber = await open({ engines: 2, maxBatch: 1 });
  const controller = new AbortController();
  const stuck = ask(transcriber, 'hold', controller.signal);
  for (let i = 0; i < 3; i++) await ask(transcriber, '');
  controller.abort();
  await assert.rejects(stuck, isError('cancelled'));
  await transcriber.close();
});

test('a final overtakes what waits, and the oldest final goes first', async () => {
  const transcriber = await open({ maxBatch: 1, maxQueue: 8 });
  const order: string[] = [];
  const first = ask(transcriber, 'later');
  const others = (['file', 'partial', 'final', 'final'] as const).map((priority, index) =>
    ask(transcriber, '', undefined, { priority }).then(() => order.push(`${priority} ${index}`)),
  );
  await Promise.all([first, ...others]);
  assert.deepEqual(order, ['final 2', 'final 3', 'partial 1', 'file 0']);
  await transcriber.close();
});

test('a window that waits is cancelled without a word to the thread', async () => {
  const transcriber = await open({ maxBatch: 1 });
  const controller = new AbortController();
  const running = ask(transcriber, 'later');
  const waiting = ask(transcriber, 'crash', controller.signal);
  controller.abort();
  await assert.rejects(waiting, isError('cancelled'));
  await running;
  assert.equal((await ask(transcriber, '')).language, '0', 'no cancel arrived');
  await transcriber.close();
});

test('in a full queue a final takes the place of a file', async () => {
  const transcriber = await open({ maxBatch: 1, maxQueue: 2 });
  const running = ask(transcriber, 'later');
  const file = ask(transcriber, '', undefined, { priority: 'file' });
  const final = ask(transcriber, '');
  await assert.rejects(file, isError('overloaded', /2 windows/));
  await Promise.all([running, final]);
  await transcriber.close();
});

test('a window that waits too long is refused as overloaded, and what runs is not', async () => {
  const transcriber = await open({ maxBatch: 1, maxWaitSeconds: { partial: 0.01 } });
  const controller = new AbortController();
  const running = ask(transcriber, 'hold', controller.signal, { priority: 'partial' });
  const partial = ask(transcriber, '', undefined, { priority: 'partial' });
  const final = ask(transcriber, '');
  await assert.rejects(partial, (error) => isError('overloaded', /too long/)(error) && (error as WhisperError).retryAfterSeconds === 1);
  controller.abort();
  await assert.rejects(running, isError('cancelled'));
  await final;
  await transcriber.close();
});

test('close lets what waits run', async () => {
  const transcriber = await open({ maxBatch: 1 });
  const asked = [ask(transcriber, 'later'), ask(transcriber, '')];
  await transcriber.close();
  for (const promise of asked) assert.equal((await promise).offset, 8);
});

test('every window is observed once when it leaves, and its load is told', async () => {
  const seen: WindowObservation[] = [];
  const queued: number[] = [];
  let nowMs = 0;
  const transcriber = await open({
    maxBatch: 1,
    maxQueue: 3,
    warmUpSeconds: 0.3,
    nowMs: () => nowMs,
    onWindow: (observation) => seen.push(observation),
    onQueue: (count) => queued.push(count),
  });
  assert.equal(transcriber.load().finalSeconds, 0.3);
  const [runs, waits] = [new AbortController(), new AbortController()];
  const running = ask(transcriber, 'hold', runs.signal);
  const doomed = ask(transcriber, '', waits.signal, { priority: 'partial' });
  const done = ask(transcriber, '', undefined, { pcm: new Float32Array(16_000) });
  nowMs = 1000;
  assert.equal(transcriber.load().oldestFinalSeconds, 1);
  await assert.rejects(ask(transcriber, '', undefined, { priority: 'file' }), isError('overloaded'));
  waits.abort();
  await assert.rejects(doomed, isError('cancelled'));
  nowMs = 2000;
  runs.abort();
  await assert.rejects(running, isError('cancelled'));
  await done;
  await assert.rejects(ask(transcriber, 'fail'), isError('internal'));
  assert.deepEqual(
    seen.map(({ priority, outcome, waitSeconds }) => [priority, outcome, waitSeconds]),
    [
      ['file', 'refused', 0],
      ['partial', 'cancelled', 1],
      ['final', 'cancelled', 0],
      ['final', 'done', 2],
      ['final', 'failed', 0],
    ],
  );
  const { audioSeconds, cost, engineSeconds } = seen[3] as WindowObservation;
  assert.deepEqual({ audioSeconds, cost, engineSeconds }, { audioSeconds: 1, cost: COST, engineSeconds: 0.4 });
  assert.deepEqual([Math.max(...queued), queued.at(-1)], [2, 0]);
  const load = transcriber.load();
  assert.deepEqual([load.engines, load.finalSeconds, load.finalDelaySeconds, load.oldestFinalSeconds], [1, 0.4, 2, 0]);
  await transcriber.close();
});

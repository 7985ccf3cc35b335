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
import { connectTranscriber } from './local-transcriber.ts';
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

/** Does what the prompt says, and tells in `language` how many cancels it was sent. */
const OBEDIENT_WORKER = `
const { parentPort } = require('node:worker_threads');
let cancels = 0;
parentPort.on('message', ({ kind, id, request }) => {
  if (kind === 'cancel') cancels++;
  if (kind === 'close') parentPort.close();
  if (kind !== 'transcribe') return;
  const result = { words: [], offset: request.pcm.length, language: String(cancels) };
  const answer = () => parentPort.postMessage({ kind: 'result', id, result });
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

async function open(maxQueue = 4, code = OBEDIENT_WORKER): Promise<Transcriber> {
  const worker = new Worker(code, { eval: true });
  workers.push(worker);
  const transcriber = await connectTranscriber(worker, { name: 'toy', multilingual: true }, maxQueue);
  return transcriber;
}

/** `hold` is never answered. */
type Order = '' | 'hold' | 'later' | 'fail' | 'crash' | 'exit';

function ask(transcriber: Transcriber, order: Order, signal?: AbortSignal, pcm = new Float32Array(8)) {
  const request: TranscribeRequest = { pcm, language: 'en', promptText: order };
  return transcriber.transcribe(request, signal);
}

const isError =
  (code: string, message = /./) =>
  (error: unknown) =>
    error instanceof WhisperError && error.code === code && message.test(error.message);

test('the languages are those of the model, or English alone', async () => {
  assert.deepEqual((await open()).info, { name: 'toy', multilingual: true, languages: ['en', 'xx'] });
  const worker = new Worker(OBEDIENT_WORKER, { eval: true });
  const english = await connectTranscriber(worker, { name: 'toy.en', multilingual: false }, 4);
  assert.deepEqual(english.info.languages, ['en']);
  await english.close();
});

test('a full queue refuses as overloaded, says when to come again, and takes more once there is room', async () => {
  const transcriber = await open(2);
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
  const transcriber = await open(2);
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
    const worker = new Worker(OBEDIENT_WORKER, { eval: true });
    const transcriber = await connectTranscriber(worker, { name: 'toy', multilingual: true }, 4, { onFailure: () => told++ });
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
  await assert.rejects(open(4, 'throw new Error("no model")'), isError('internal'));
  await assert.rejects(open(4, 'process.exit(7)'), isError('internal', /code 7/));
});

test('close waits for what runs, refuses what comes, and ends the thread', async () => {
  const worker = new Worker(OBEDIENT_WORKER, { eval: true });
  const transcriber = await connectTranscriber(worker, { name: 'toy', multilingual: true }, 4);
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
  const { offset } = await ask(transcriber, '', undefined, whole.subarray(100, 140));
  assert.equal(offset, 40);
  assert.equal(whole.length, 1000);
  assert.ok(whole.every((sample) => sample === 0.5));
  await transcriber.close();
});

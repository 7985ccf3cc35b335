// The queue between socket and demuxer: order, bound, end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteQueue } from './byte-queue.ts';

const bytes = (text: string): Buffer => Buffer.from(text);

test('the reader gets all bytes in order, joined where they waited together', async () => {
  const queue = new ByteQueue(1000);
  assert.equal(queue.push(bytes('ab')), undefined);
  assert.equal(queue.push(bytes('cd')), undefined);
  const reader = queue[Symbol.asyncIterator]();
  assert.equal(String((await reader.next()).value), 'abcd');
  const next = reader.next();
  assert.equal(queue.push(bytes('e')), undefined);
  assert.equal(String((await next).value), 'e');
  assert.equal(queue.push(bytes('f')), undefined);
  queue.end();
  assert.equal(String((await reader.next()).value), 'f');
  assert.equal((await reader.next()).done, true);
});

test('a push over the bound waits until the reader has made room', async () => {
  const queue = new ByteQueue(1000);
  assert.equal(queue.push(Buffer.alloc(500)), undefined);
  const wait = queue.push(Buffer.alloc(500));
  assert.ok(wait instanceof Promise);
  await queue[Symbol.asyncIterator]().next();
  await wait;
  assert.equal(queue.queuedBytes, 0);
});

test('a flood of tiny chunks reaches the bound by what it costs, not by its bytes', () => {
  const queue = new ByteQueue(10_000);
  let count = 1;
  while (queue.push(Buffer.alloc(1)) === undefined) count++;
  assert.ok(count < 100, String(count));
});

test('drained waits for the reader to come back for more', async () => {
  const queue = new ByteQueue(1000);
  assert.equal(queue.push(bytes('a')), undefined);
  let isDrained = false;
  const drained = queue.drained().then(() => {
    isDrained = true;
  });
  const reader = queue[Symbol.asyncIterator]();
  await reader.next();
  await Promise.resolve();
  assert.equal(isDrained, false);
  void reader.next();
  await drained;
  queue.close();
});

test('closing frees whoever waits and ends the reader', async () => {
  const queue = new ByteQueue(10);
  const wait = queue.push(Buffer.alloc(100));
  const drained = queue.drained();
  queue.close();
  await Promise.all([wait, drained]);
  assert.equal((await queue[Symbol.asyncIterator]().next()).done, true);
  assert.equal(queue.push(bytes('late')), undefined);
});

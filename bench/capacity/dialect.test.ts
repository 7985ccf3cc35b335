// What the answers of each system mean: finals once, gaps found, refusals told from failures.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDialect, type Dialect } from './dialect.ts';

const SETTINGS = { chunkSeconds: 5, overlapSeconds: 0.5, interimResults: true };
const read = (dialect: Dialect, message: object, atMs = 0) => dialect.read(JSON.stringify(message), atMs);

test('our stream: finals and silence must cover the audio, a refusal says when to come again', () => {
  const final = { type: 'transcript', is_final: true, text: 'a b', words: [{ word: ' a', start: 0, end: 0.4, probability: 1 }] };
  const whole = createDialect('ours', SETTINGS);
  assert.deepEqual(read(whole, { ...final, start: 0, end: 3.2 }), [
    { kind: 'final', text: 'a b', words: [{ word: ' a', endSeconds: 0.4 }] },
  ]);
  read(whole, { type: 'no_speech', start: 3.2, end: 5 });
  assert.equal(whole.gaps(5.0004), 0);
  const torn = createDialect('ours', SETTINGS);
  read(torn, { ...final, start: 0.5, end: 3.2 });
  assert.equal(torn.gaps(5), 2);
  const [refused] = read(torn, { type: 'error', code: 'overloaded', message: '', retry_after: 3 });
  assert.deepEqual(refused, { kind: 'refused', reason: '1013 overloaded', retryAfterSeconds: 3 });
});

test('WhisperLive: a completed segment counts once, when it first comes; the open one when it last changed', () => {
  const dialect = createDialect('whisperlive', SETTINGS);
  const done = { start: '0.000', end: '2.000', text: ' one two', completed: true };
  const open = { start: '2.000', end: '3.000', text: ' three', completed: false };
  const kinds = (message: object, atMs: number): string[] => read(dialect, message, atMs).map(({ kind }) => kind);
  assert.deepEqual(kinds({ message: 'SERVER_READY' }, 0), ['ready']);
  assert.deepEqual(kinds({ segments: [{ ...done, completed: false }] }, 1), ['partial']);
  assert.deepEqual(kinds({ segments: [done, open] }, 2), ['final', 'partial']);
  assert.deepEqual(kinds({ segments: [done, open] }, 3), []);
  assert.deepEqual(dialect.flush(), [{ kind: 'final', text: 'three', words: [{ word: 'three', endSeconds: 3 }], receivedMs: 2 }]);
  assert.deepEqual(kinds({ status: 'WAIT', message: 0.5 }, 4), ['refused']);
});

test('the naive recipe: words of a segment are spread over it, and it says its end', () => {
  const dialect = createDialect('naive', SETTINGS);
  assert.deepEqual(read(dialect, { type: 'final', start: 4, end: 6, text: 'a b' }), [
    {
      kind: 'final',
      text: 'a b',
      words: [
        { word: 'a', endSeconds: 5 },
        { word: 'b', endSeconds: 6 },
      ],
    },
  ]);
  assert.deepEqual(read(dialect, { type: 'end' }), [{ kind: 'end' }]);
  assert.equal(dialect.gaps(6), null);
});

// Windows on the wire: the same samples come out as went in, small where they can be, and what is no window is refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { WhisperError } from '../core/errors.ts';
import { decodeWindow, encodeWindow, type WindowHeader } from './asr-protocol.ts';
import type { TranscribeRequest } from './transcriber.ts';

const FULL: TranscribeRequest = {
  pcm: Float32Array.of(0, 0.5, -1, 32_767 / 32_768),
  language: 'en',
  task: 'translate',
  prompt: [1, 2],
  promptText: 'Zoë',
  prefix: [3, 4, 5],
  prefixSamples: 2,
  draft: [6],
  searchUntil: 0,
  priority: 'partial',
  owner: 'someone',
};

const HEADER: WindowHeader = { timeoutMs: 1500, model: 'base', caller: 'c' };

test('a window comes out as it went in', () => {
  assert.deepEqual(decodeWindow(encodeWindow(FULL, HEADER)), { request: FULL, ...HEADER });
  const bare = { pcm: Float32Array.of(0.1), language: null };
  assert.deepEqual(decodeWindow(encodeWindow(bare, HEADER)), { request: bare, ...HEADER });
});

test('16-bit samples take two bytes, all others four, and neither is changed', () => {
  const sizeOf = (pcm: Float32Array): number => (decode(encodeWindow({ pcm, language: null }, HEADER)) as { pcm: Uint8Array }).pcm.length;
  assert.equal(sizeOf(Float32Array.of(1 / 32_768, -1)), 4);
  assert.equal(sizeOf(Float32Array.of(1 / 65_536, -1)), 8);
  assert.equal(sizeOf(Float32Array.of(1)), 4, '1 is one step above the largest of 16 bits');
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.integer({ min: -32_768, max: 32_767 }).map((n) => n / 32_768),
          fc.float({ noNaN: true }),
        ),
        { minLength: 1 },
      ),
      (values) => {
        const pcm = Float32Array.from(values, (value) => value + 0); // -0 becomes 0 in 16 bits
        assert.deepEqual(decodeWindow(encodeWindow({ pcm, language: null }, HEADER)).request.pcm, pcm);
      },
    ),
  );
});

test('the samples are copied, wherever in a buffer they lie', () => {
  const around = new Float32Array(10).fill(0.25);
  const pcm = around.subarray(3, 6);
  const bytes = Buffer.concat([Buffer.alloc(1), encodeWindow({ pcm, language: null }, HEADER)]).subarray(1);
  const { request } = decodeWindow(bytes);
  bytes.fill(0);
  assert.deepEqual(request.pcm, Float32Array.of(0.25, 0.25, 0.25));
  assert.deepEqual(around, new Float32Array(10).fill(0.25));
});

test('what is no window is refused, and nothing of it is quoted', () => {
  const good = decode(encodeWindow(FULL, HEADER)) as Record<string, unknown>;
  const bad: readonly unknown[] = [
    'text',
    {},
    { ...good, pcm: 'text' },
    { ...good, pcm: new Uint8Array(0) },
    { ...good, pcm: new Uint8Array(3) },
    { ...good, prefix: ['secret'] },
    { ...good, language: 7 },
    { ...good, priority: 'urgent' },
    { ...good, timeoutMs: 0 },
    { ...good, secret: 1 },
  ];
  for (const value of bad) assert.throws(() => decodeWindow(encode(value)), isRefusal);
  assert.throws(() => decodeWindow(Buffer.from('secret')), isRefusal);
});

function isRefusal(error: unknown): boolean {
  assert.ok(error instanceof WhisperError);
  assert.equal(error.code, 'invalid_message');
  assert.doesNotMatch(error.message, /secret/);
  return true;
}

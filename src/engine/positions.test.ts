// Which positions of a window go through the model: every position is stood for exactly once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { allPositions, SAMPLES_PER_POSITION, thinnedPositions } from './positions.ts';

const STRIDES = { committedStride: 2, silenceStride: 5 };
const ALL = { committedStride: 1, silenceStride: 1 };

/** A square wave where a position has a 1, digital silence where it has a 0. */
const audio = (positions: readonly number[]): Float32Array =>
  Float32Array.from(
    { length: positions.length * SAMPLES_PER_POSITION },
    (_, i) => 0.1 * (positions[Math.floor(i / SAMPLES_PER_POSITION)] ?? 0),
  );

const runs = (...lengths: readonly (readonly [value: number, length: number])[]): number[] =>
  lengths.flatMap(([value, length]) => new Array<number>(length).fill(value));

const range = (from: number, to: number, step = 1): number[] =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);

const weights = (keyBias: Float32Array): number[] => [...keyBias].map((bias) => Math.round(Math.exp(bias)));

test('committed speech and the margin are thinned, but not next to new words', () => {
  const { indices, keyBias } = thinnedPositions(audio(runs([1, 60])), { committed: 50, total: 120 }, STRIDES);
  assert.deepEqual([...indices], [...range(1, 40, 2), ...range(40, 85), ...range(87, 120, 5)]);
  assert.deepEqual(weights(keyBias), runs([2, 20], [1, 45], [5, 7]));
});

test('so is silence inside a window, behind the end of a word and up to shortly before the next', () => {
  const { indices, keyBias } = thinnedPositions(audio(runs([1, 30], [0, 50], [1, 30], [0, 30])), { committed: 0, total: 140 }, STRIDES);
  assert.deepEqual([...indices], [...range(0, 55), 57, 62, 67, ...range(70, 135), 137]);
  assert.deepEqual(weights(keyBias), runs([1, 55], [5, 3], [1, 65], [5, 1]));
});

test('what is louder than -60 dBFS is no silence', () => {
  for (const [peak, thinned] of [
    [0.99e-3, true],
    [1.01e-3, false],
  ] as const) {
    const pcm = new Float32Array(100 * SAMPLES_PER_POSITION);
    for (let i = 0; i < pcm.length; i += SAMPLES_PER_POSITION) pcm[i] = -peak;
    assert.equal(thinnedPositions(pcm, { committed: 0, total: 100 }, STRIDES).indices.length < 100, thinned);
  }
});

test('strides of 1, and speech without a margin, take all', () => {
  assert.deepEqual(thinnedPositions(audio(runs([1, 200])), { committed: 100, total: 350 }, ALL), allPositions(350));
  assert.deepEqual(thinnedPositions(audio(runs([1, 200])), { committed: 0, total: 200 }, STRIDES), allPositions(200));
});

test('whatever the window: ascending, inside, and the weights add up to its length', () => {
  const spans = fc.array(fc.tuple(fc.nat(1), fc.integer({ min: 1, max: 90 })), { minLength: 1, maxLength: 12 });
  const stride = fc.integer({ min: 1, max: 9 });
  fc.assert(
    fc.property(spans, fc.nat(1000), fc.nat(200), stride, stride, (audible, committed, margin, committedStride, silenceStride) => {
      const heard = runs(...audible);
      const total = heard.length + margin;
      const { indices, keyBias } = thinnedPositions(
        audio(heard),
        { committed: Math.min(committed, heard.length), total },
        { committedStride, silenceStride },
      );
      assert.equal(indices.length, keyBias.length);
      indices.forEach((index, i) => {
        assert.ok(index > (indices[i - 1] ?? -1) && index < total);
      });
      const weight = keyBias.reduce((sum, bias) => sum + Math.exp(bias), 0);
      assert.ok(Math.abs(weight - total) < 1e-3 * total, `${weight}`);
    }),
  );
});

// Which positions of a window go through the model: every position is stood for exactly once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { allPositions, thinnedPositions } from './positions.ts';

test('new audio, and what is close to it, keeps all its positions; elsewhere one stands for several', () => {
  const { indices, keyBias } = thinnedPositions({ committed: 50, audio: 60, total: 120 }, { committedStride: 2, marginStride: 5 });
  const expected = [
    ...Array.from({ length: 20 }, (_, i) => 2 * i + 1),
    ...Array.from({ length: 45 }, (_, i) => 40 + i),
    ...Array.from({ length: 7 }, (_, i) => 87 + 5 * i),
  ];
  assert.deepEqual([...indices], expected);
  assert.deepEqual(
    [keyBias[0], keyBias[20], keyBias[64], keyBias[65]].map((bias) => Math.round(Math.exp(bias as number))),
    [2, 1, 1, 5],
  );
});

test('strides of 1, and a window without committed speech or margin, take all', () => {
  const spans = { committed: 100, audio: 200, total: 350 };
  assert.deepEqual(thinnedPositions(spans, { committedStride: 1, marginStride: 1 }), allPositions(350));
  assert.deepEqual(thinnedPositions({ committed: 0, audio: 200, total: 200 }, { committedStride: 2, marginStride: 5 }), allPositions(200));
});

test('whatever the window: ascending, inside, and the weights add up to its length', () => {
  const stride = fc.integer({ min: 1, max: 9 });
  const spans = fc
    .record({ a: fc.nat(700), b: fc.nat(700), c: fc.nat(700) })
    .map(({ a, b, c }) => ({ committed: a, audio: a + b, total: Math.max(1, a + b + c) }));
  fc.assert(
    fc.property(spans, stride, stride, (window, committedStride, marginStride) => {
      const { indices, keyBias } = thinnedPositions(window, { committedStride, marginStride });
      assert.equal(indices.length, keyBias.length);
      indices.forEach((index, i) => {
        assert.ok(index > (indices[i - 1] ?? -1) && index < window.total);
      });
      const weight = keyBias.reduce((sum, bias) => sum + Math.exp(bias), 0);
      assert.ok(Math.abs(weight - window.total) < 1e-3 * window.total, `${weight}`);
    }),
  );
});

// int8 weights come back within half a step of their scale, whatever the sizes; rounding has no bias.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_SIZE, quantiseBlocks, quantiseColumns, smoothingFactors } from './quantise.ts';

/** No checkpoint has weights so small; their scale would not be a normal float32. */
const NEGLIGIBLE = 1e-30;

const matrix = fc
  .record({ outputs: fc.integer({ min: 1, max: 4 }), inputs: fc.integer({ min: 1, max: 300 }) })
  .chain(({ outputs, inputs }) =>
    fc.record({
      outputs: fc.constant(outputs),
      inputs: fc.constant(inputs),
      weight: fc
        .array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: outputs * inputs, maxLength: outputs * inputs })
        .map((values) => Float32Array.from(values, (x) => (Math.abs(x) < NEGLIGIBLE ? 0 : x))),
    }),
  );

/** Half a step, and what float32 loses in the scale itself. */
const within = (actual: number, expected: number, scale: number): boolean => Math.abs(actual - expected) <= scale * 0.5001;

test('a column has one scale, its weights are exact to rounding, and products of neighbours fit into 16 bits', () => {
  fc.assert(
    fc.property(matrix, ({ outputs, inputs, weight }) => {
      const { values, scales } = quantiseColumns(weight, outputs, inputs);
      for (let o = 0; o < outputs; o++) {
        let largestPair = 0;
        for (let i = 0; i < inputs; i++) {
          const value = values[i * outputs + o] as number;
          const neighbour = i % 2 === 0 && i + 1 < inputs ? (values[(i + 1) * outputs + o] as number) : 0;
          const pair = Math.abs(value) + Math.abs(neighbour);
          assert.ok(255 * pair < 2 ** 15, `${value}, ${neighbour}`);
          largestPair = Math.max(largestPair, pair);
          assert.ok(within(value * (scales[o] as number), weight[o * inputs + i] as number, scales[o] as number));
        }
        assert.ok(
          largestPair >= 126 || weight.subarray(o * inputs, (o + 1) * inputs).every((w) => w === 0),
          `steps are left unused: ${largestPair}`,
        );
      }
    }),
    { numRuns: 60 },
  );
});

test('a block of 128 inputs has one scale; the last block is filled with zeros', () => {
  fc.assert(
    fc.property(matrix, ({ outputs, inputs, weight }) => {
      const { values, scales } = quantiseBlocks(weight, outputs, inputs);
      const blocks = Math.ceil(inputs / BLOCK_SIZE);
      assert.equal(scales.length, outputs * blocks);
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < blocks * BLOCK_SIZE; i++) {
          const scale = scales[o * blocks + Math.floor(i / BLOCK_SIZE)] as number;
          const value = (values[o * blocks * BLOCK_SIZE + i] as number) - 128;
          if (i < inputs) assert.ok(within(value * scale, weight[o * inputs + i] as number, scale));
          else assert.equal(value, 0);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test('halves go to the even neighbour, and zeros stay zeros', () => {
  // The largest pair is 127 steps of 1.
  const weight = Float32Array.of(127, 0, 1.5, 2.5, -0.5, -1.5, -2.5, 3.4, 0.5);
  assert.deepEqual([...quantiseColumns(weight, 1, 9).values], [127, 0, 2, 2, 0, -2, -2, 3, 0]);
  const nothing = quantiseBlocks(new Float32Array(5), 1, 5);
  assert.ok(nothing.values.every((value) => value === 128));
  assert.ok(Number.isFinite(nothing.scales[0]));
});

test('smoothed channels are nearer to each other in what they see and in their weights, and none is lost', () => {
  // Of the four channels one sees much, one has large weights, one has none, and one is never seen.
  const weight = Float32Array.of(0.1, 8, 0, 1, -0.2, 4, 0, -1);
  const norm = { gains: Float32Array.of(30, 1, 1, 0), biases: Float32Array.of(-10, 0, 0, 0) };
  const factors = smoothingFactors(weight, norm);
  assert.ok((factors[0] as number) > 3 * (factors[1] as number));
  assert.ok(100 / (factors[0] as number) < 3 * (3 / (factors[1] as number)), 'activations: 33 times as far apart before');
  assert.ok(8 * (factors[1] as number) < 12 * 0.2 * (factors[0] as number), 'weights: 40 times as far apart before');
  assert.deepEqual([...factors.subarray(2)], [1, 1]);
});

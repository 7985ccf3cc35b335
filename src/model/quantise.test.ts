// int8 weights come back within half a step of their scale, whatever the sizes; rounding has no bias.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_SIZE, quantiseBlocks, quantiseColumns } from './quantise.ts';

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

test('a column has one scale, and its largest weight is exact to rounding', () => {
  fc.assert(
    fc.property(matrix, ({ outputs, inputs, weight }) => {
      const { values, scales } = quantiseColumns(weight, outputs, inputs);
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) {
          const value = values[i * outputs + o] as number;
          assert.ok(value >= -127 && value <= 127);
          assert.ok(within(value * (scales[o] as number), weight[o * inputs + i] as number, scales[o] as number));
        }
      }
    }),
    { numRuns: 60 },
  );
});

test('a block of 128 inputs has one scale; the last block is filled with zeros', () => {
  fc.assert(
    fc.property(matrix, ({ outputs, inputs, weight }) => {
      const { values, scales, blocks } = quantiseBlocks(weight, outputs, inputs);
      assert.equal(blocks, Math.ceil(inputs / BLOCK_SIZE));
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
  // The largest is 127 steps of 1.
  const weight = Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.4);
  assert.deepEqual([...quantiseColumns(weight, 1, 8).values], [127, 0, 2, 2, 0, -2, -2, 3]);
  const nothing = quantiseBlocks(new Float32Array(5), 1, 5);
  assert.ok(nothing.values.every((value) => value === 128));
  assert.ok(Number.isFinite(nothing.scales[0]));
});

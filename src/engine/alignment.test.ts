// Alignment against naive versions of its parts, and what must hold of its result whatever the scores.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { alignRows, medianFilter, warp } from './alignment.ts';

const MEDIAN_WIDTH = 7;

/** Sorts every window anew; the ends are mirrored without repeating the edge (scipy's `mirror`, torch's `reflect`). */
function naiveMedian(values: readonly number[]): number[] {
  const n = values.length;
  if (n <= MEDIAN_WIDTH >> 1) return [...values];
  const mirrored = (i: number): number => values[i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i] as number;
  return values.map((_, f) => {
    const window = Array.from({ length: MEDIAN_WIDTH }, (__, i) => mirrored(f + i - (MEDIAN_WIDTH >> 1)));
    return window.sort((a, b) => a - b)[MEDIAN_WIDTH >> 1] as number;
  });
}

/** Cost of the cheapest path from the first cell to (row, frame), by its definition; a step goes right, down or both. */
function cheapest(cost: readonly (readonly number[])[], row: number, frame: number, known = new Map<string, number>()): number {
  if (row < 0 || frame < 0) return Infinity;
  const own = cost[row]?.[frame] as number;
  if (row === 0 && frame === 0) return own;
  const key = `${row} ${frame}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  const before = [cheapest(cost, row - 1, frame - 1, known), cheapest(cost, row - 1, frame, known), cheapest(cost, row, frame - 1, known)];
  const total = own + Math.min(...before);
  known.set(key, total);
  return total;
}

/** The least cost of a path that enters row r at starts[r]: it leaves the row before there, or one frame earlier. */
function costOfStarts(cost: readonly (readonly number[])[], starts: readonly number[]): number {
  const frames = cost[0]?.length as number;
  let total = 0;
  starts.forEach((start, r) => {
    const next = starts[r + 1];
    const row = cost[r] as readonly number[];
    const upTo = (end: number): number => row.slice(start, end + 1).reduce((a, b) => a + b, 0);
    if (next === undefined) total += upTo(frames - 1);
    else total += next > start ? Math.min(upTo(next - 1), upTo(next)) : upTo(next);
  });
  return total;
}

/** Integers: sums are exact in float32, so that equal costs are equal. */
const costs = fc
  .record({ rows: fc.integer({ min: 1, max: 8 }), frames: fc.integer({ min: 1, max: 12 }) })
  .chain(({ rows, frames }) =>
    fc.array(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: frames, maxLength: frames }), { minLength: rows, maxLength: rows }),
  );

test('the sliding median equals that of every window sorted anew', () => {
  const values = fc.oneof(
    fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 60 }),
    fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 1, maxLength: 60 }), // many equal ones
  );
  fc.assert(
    fc.property(values, (list) => {
      const out = new Float32Array(list.length);
      medianFilter(Float32Array.from(list), out);
      // A median's sign of zero is nobody's business.
      assert.deepEqual(
        [...out].map((x) => x + 0),
        naiveMedian(list).map((x) => x + 0),
      );
    }),
    { numRuns: 500 },
  );
});

test('the path is a cheapest one', () => {
  fc.assert(
    fc.property(costs, (cost) => {
      const [rows, frames] = [cost.length, cost[0]?.length as number];
      const starts = [...warp(Float32Array.from(cost.flat()), rows, frames)];
      assert.equal(starts[0], 0);
      for (let r = 1; r < rows; r++) assert.ok((starts[r] as number) >= (starts[r - 1] as number), `${starts}`);
      assert.ok((starts.at(-1) as number) < frames);
      assert.equal(costOfStarts(cost, starts), cheapest(cost, rows - 1, frames - 1));
    }),
    { numRuns: 500 },
  );
});

test('whatever the scores, rows start in order and inside the audio', () => {
  const input = fc
    .record({ heads: fc.integer({ min: 1, max: 3 }), rows: fc.integer({ min: 1, max: 10 }), stride: fc.integer({ min: 1, max: 40 }) })
    .chain(({ heads, rows, stride }) =>
      fc.record({
        heads: fc.constant(heads),
        rows: fc.constant(rows),
        stride: fc.constant(stride),
        frames: fc.integer({ min: 1, max: stride }),
        scores: fc.array(fc.float({ min: -60, max: 60, noNaN: true }), {
          minLength: heads * rows * stride,
          maxLength: heads * rows * stride,
        }),
      }),
    );
  fc.assert(
    fc.property(input, ({ heads, rows, stride, frames, scores }) => {
      const starts = alignRows(Float32Array.from(scores), heads, rows, stride, frames);
      assert.equal(starts.length, rows);
      for (let r = 0; r < rows; r++) {
        const start = starts[r] as number;
        assert.ok(start >= (starts[r - 1] ?? 0) && start < frames, `row ${r} starts at ${start} of ${frames}`);
      }
      // The margin after the audio is not looked at.
      const changed = scores.map((score, i) => (i % stride < frames ? score : -score + 17));
      assert.deepEqual(alignRows(Float32Array.from(changed), heads, rows, stride, frames), starts);
    }),
    { numRuns: 300 },
  );
});

test('a bright diagonal gives the times of its steps, in noise and in all heads', () => {
  const [heads, rows, frames, stride] = [3, 5, 100, 130];
  const borders = [0, 12, 40, 55, 90, frames];
  const scores = new Float32Array(heads * rows * stride);
  for (let i = 0; i < scores.length; i++) {
    const [r, f] = [Math.floor(i / stride) % rows, i % stride];
    const isOwn = f >= (borders[r] as number) && f < (borders[r + 1] as number);
    scores[i] = (isOwn ? 6 : 0) + Math.sin(i * i);
  }
  const starts = alignRows(scores, heads, rows, stride, frames);
  starts.forEach((start, r) => {
    assert.ok(Math.abs(start - (borders[r] as number)) <= 2, `row ${r} starts at ${start}, expected ${borders[r]}`);
  });
});

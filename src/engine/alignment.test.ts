// Alignment against naive versions of its parts, and what must hold of its result whatever the scores.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { alignRows, exponential, mirroredLength, subtractMedians, warp } from './alignment.ts';

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

const costs = fc
  .record({ rows: fc.integer({ min: 1, max: 8 }), frames: fc.integer({ min: 1, max: 12 }) })
  .chain(({ rows, frames }) =>
    fc.array(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: frames, maxLength: frames }), { minLength: rows, maxLength: rows }),
  );

test('the sliding median equals that of every window sorted anew', () => {
  const most = 2 ** 25;
  const values = fc.oneof(
    fc.array(fc.integer({ min: -most, max: most }), { minLength: 1, maxLength: 60 }),
    fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 1, maxLength: 60 }), // many equal ones
  );
  fc.assert(
    fc.property(values, fc.integer({ min: -most, max: most }), (list, before) => {
      const mirrored = new Int32Array(mirroredLength(list.length)).fill(most);
      mirrored.set(list, MEDIAN_WIDTH >> 1);
      const out = new Float64Array(list.length).fill(before);
      subtractMedians(mirrored, out);
      assert.deepEqual(
        [...out],
        naiveMedian(list).map((median) => before - median),
      );
    }),
    { numRuns: 1000 },
  );
});

test('the exponential is as exact as float32, from 1 down to nothing', () => {
  for (let x = 0; x > -87; x -= 0.00371) {
    const expected = Math.exp(x);
    assert.ok(Math.abs(exponential(x) - expected) <= 2e-7 * expected, `e^${x}: ${exponential(x)} instead of ${expected}`);
  }
  assert.equal(exponential(0), 1);
  for (const x of [-87.5, -1e4, -1e10, -Infinity]) assert.equal(exponential(x), 0, `e^${x}`);
});

test('the path is a cheapest one', () => {
  fc.assert(
    fc.property(costs, (cost) => {
      const [rows, frames] = [cost.length, cost[0]?.length as number];
      const starts = [...warp(Float64Array.from(cost.flat()), rows, frames)];
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

/** `whisper/timing.py` find_alignment from the scores on, step by step in float64; where a path forks, a diagonal step first, then down. */
function naiveAlignment(scores: readonly number[], heads: number, rows: number, stride: number, frames: number): number[] {
  const cost = Array.from({ length: rows }, () => new Array<number>(frames).fill(0));
  for (let h = 0; h < heads; h++) {
    const weights = Array.from({ length: rows }, (_, r) => {
      const exponentials = scores.slice((h * rows + r) * stride, (h * rows + r) * stride + frames).map(Math.exp);
      const sum = exponentials.reduce((a, b) => a + b);
      return exponentials.map((value) => value / sum);
    });
    for (let f = 0; f < frames; f++) {
      const column = weights.map((row) => row[f] as number);
      const mean = column.reduce((a, b) => a + b) / rows;
      const deviation = Math.sqrt(column.reduce((sum, value) => sum + (value - mean) ** 2, 0) / rows);
      for (const row of weights) row[f] = ((row[f] as number) - mean) / deviation;
    }
    weights.forEach((row, r) => {
      naiveMedian(row).forEach((value, f) => {
        (cost[r] as number[])[f] = (cost[r]?.[f] as number) - value / heads;
      });
    });
  }
  const known = new Map<string, number>();
  const starts = new Array<number>(rows).fill(0);
  // The first row's start, 0, is where every path ends.
  for (let [r, f] = [rows - 1, frames - 1]; r > 0; ) {
    starts[r] = f;
    const [diagonal, down, right] = [
      cheapest(cost, r - 1, f - 1, known),
      cheapest(cost, r - 1, f, known),
      cheapest(cost, r, f - 1, known),
    ] as const;
    const least = Math.min(diagonal, down, right);
    if (least !== right || least === diagonal || least === down) r--;
    if (least !== down || least === diagonal) f--;
  }
  return starts;
}

test('from scores to starts it is the reference, step by step', () => {
  let state = 7;
  const random = (): number => {
    state = (state * 16_807) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  for (let round = 0; round < 40; round++) {
    // Two rows would standardise to 1 and -1 everywhere: nothing but ties.
    const [heads, rows, frames] = [1 + (round % 3), 3 + (round % 7), 9 + round];
    const stride = frames + (round % 5);
    // Peaked as attention is, differently in each row: the soft-max, the mean and the filter all matter.
    const scores = Array.from({ length: heads * rows * stride }, (_, i) => {
      const [r, f] = [Math.floor(i / stride) % rows, i % stride];
      return (4 + r) * random() - Math.abs(f / frames - (r + 0.5) / rows) * 4;
    });
    const starts = alignRows(Float32Array.from(scores), heads, rows, stride, frames);
    assert.deepEqual([...starts], naiveAlignment(scores.map(Math.fround), heads, rows, stride, frames), `round ${round}`);
  }
});

test('as many heads as the largest model has in half of its layers, all of one mind, give the times they agree on', () => {
  const [heads, rows, frames] = [320, 60, 480];
  const scores = new Float32Array(heads * rows * frames);
  for (let i = 0; i < scores.length; i++) scores[i] = Math.floor((i % frames) / 8) === Math.floor(i / frames) % rows ? 20 : 0;
  const starts = alignRows(scores, heads, rows, frames, frames);
  starts.forEach((start, r) => {
    assert.ok(Math.abs(start - 8 * r) <= 2, `row ${r} starts at ${start}, expected ${8 * r}`);
  });
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

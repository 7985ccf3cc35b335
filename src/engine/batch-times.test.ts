// What a window costs of a full batch: found from runs of different sizes, and never more than it took.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BatchTimes } from './batch-times.ts';

test('runs of one size tell nothing of others: a window costs its share', () => {
  const times = new BatchTimes(32);
  for (let i = 0; i < 20; i++) assert.equal(times.add(1, 100), 100);
  for (let i = 0; i < 20; i++) assert.ok(new BatchTimes(32).add(4, 100) === 25);
});

test('a device of 80 ms a run and 5 ms a window is found out, so that an idle one does not look busy', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 32 }), { minLength: 40, maxLength: 80 }), (sizes) => {
      const times = new BatchTimes(32);
      let last = 0;
      for (const windows of [1, 2, ...sizes]) last = times.add(windows, 80 + 5 * windows);
      const [final = 1] = sizes.slice(-1);
      // 5 ms and a 32nd of 80 ms, or what it took here if that is less.
      assert.ok(Math.abs(last - Math.min(7.5, (80 + 5 * final) / final)) < 1e-6, `${last}`);
    }),
  );
});

test('a device that became slower is believed within a hundred runs', () => {
  const times = new BatchTimes(16);
  for (let i = 0; i < 200; i++) times.add(1 + (i % 8), 40 + 2 * (1 + (i % 8)));
  let last = 0;
  for (let i = 0; i < 200; i++) last = times.add(1 + (i % 8), 80 + 4 * (1 + (i % 8)));
  assert.ok(Math.abs(last - (4 + 80 / 16)) < 0.2, `${last}`);
});

test('costs are finite and above nothing, whatever runs take', () => {
  const run = fc.record({ windows: fc.integer({ min: 1, max: 32 }), ms: fc.double({ min: 0.1, max: 1e5, noNaN: true }) });
  fc.assert(
    fc.property(fc.array(run, { minLength: 1 }), (runs) => {
      const times = new BatchTimes(32);
      for (const { ms, windows } of runs) {
        const cost = times.add(windows, ms);
        assert.ok(cost >= ms / 32 - 1e-9 && cost <= ms / windows + 1e-9, `${cost} of ${ms} for ${windows}`);
      }
    }),
  );
});

// A batch's limit: what memory taught shrinks it, quiet times raise it again, and it never passes what it began with.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BatchLimit } from './batch-limit.ts';

test('windows and positions are both bounds', () => {
  const limit = new BatchLimit(4, 1000);
  assert.ok(limit.fits(4, 250));
  assert.ok(!limit.fits(5, 10));
  assert.ok(!limit.fits(4, 251));
});

test('running out of memory leaves less than what did not fit, whatever was tried', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ windows: fc.integer({ min: 1, max: 64 }), positions: fc.integer({ min: 25, max: 7500 }) })),
      (failures) => {
        const limit = new BatchLimit(64, 100_000);
        let least = 100_000;
        for (const { positions, windows } of failures) {
          assert.equal(limit.outOfMemory(windows, positions), windows > 1);
          assert.ok(!limit.fits(windows, positions));
          least = Math.min(least, windows * positions);
          assert.ok(limit.positions <= least);
        }
      },
    ),
  );
});

test('a limit that was learnt grows back slowly, and not beyond the first', () => {
  const limit = new BatchLimit(64, 10_000);
  limit.outOfMemory(8, 1000);
  const learnt = limit.positions;
  assert.equal(learnt, 4800);
  for (let i = 0; i < 199; i++) limit.succeeded();
  assert.equal(limit.positions, learnt);
  limit.succeeded();
  assert.equal(limit.positions, 5280);
  for (let i = 0; i < 5000; i++) limit.succeeded();
  assert.equal(limit.positions, 10_000);
});

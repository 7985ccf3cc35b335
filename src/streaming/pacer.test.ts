// The pace of live sessions: what partials may take of the engines and when they make room, and when finals get less work.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { IDLE_LOAD } from '../../test/load.ts';
import { effortAt, Pacer, partialIntervalSeconds } from './pacer.ts';

const share = fc.double({ min: 0, max: 1, noNaN: true });

describe('the interval between partials', () => {
  test('keeps all partials together within 8 % of the engines, and is never below a second', () => {
    fc.assert(
      fc.property(
        fc.record({
          finalShare: share,
          partialSeconds: fc.double({ min: 0, max: 2, noNaN: true }),
          engines: fc.integer({ min: 1, max: 32 }),
        }),
        fc.integer({ min: 0, max: 1000 }),
        (measured, sessions) => {
          const interval = partialIntervalSeconds({ ...IDLE_LOAD, ...measured }, sessions);
          assert.ok(interval >= 1);
          assert.ok((sessions * measured.partialSeconds) / interval <= 0.08 * measured.engines + 1e-9);
          if (measured.finalShare >= 0.5) assert.equal(interval, Number.POSITIVE_INFINITY);
        },
      ),
    );
  });

  test('grows as finals take more, and with the sessions', () => {
    const at = (finalShare: number, sessions = 10) => partialIntervalSeconds({ ...IDLE_LOAD, finalShare }, sessions);
    assert.deepEqual([at(0, 1), at(0), at(0.25)], [1, 6.25, 12.5]);
    assert.deepEqual([at(0.5, 0), at(0.5), at(1)], Array(3).fill(Number.POSITIVE_INFINITY));
    assert.equal(partialIntervalSeconds({ ...IDLE_LOAD, callers: 3 }, 10), 3 * at(0), 'servers that share the engines share the budget');
  });
});

describe('the pacer', () => {
  test('asks for the load at most every 200 ms', () => {
    let [nowMs, asked] = [0, 0];
    const pacer = new Pacer(
      () => {
        asked++;
        return IDLE_LOAD;
      },
      () => nowMs,
    );
    for (nowMs = 0; nowMs <= 1000; nowMs += 10) pacer.pace(true, false);
    assert.equal(asked, 6);
  });

  test('counts a session once, however often it leaves', () => {
    let nowMs = 0;
    const pacer = new Pacer(
      () => IDLE_LOAD,
      () => (nowMs += 1000),
    );
    const leave = pacer.join();
    for (let n = 0; n < 9; n++) pacer.join();
    assert.equal(pacer.pace(true, false).partialIntervalSamples, 100_000);
    leave();
    leave();
    assert.equal(pacer.pace(true, false).partialIntervalSamples, 90_000);
  });

  test('paces as usual while there is no engine', () => {
    const pacer = new Pacer(
      () => null,
      () => 0,
    );
    assert.equal(pacer.intervalSeconds(), 1);
    assert.deepEqual(pacer.pace(false, false), { partialIntervalSamples: Number.POSITIVE_INFINITY, effort: 'full' });
  });
});

describe('the effort', () => {
  test('is reduced for those who wait for their words, not for a recording that comes faster; partials then stop', () => {
    const pacer = new Pacer(
      () => ({ ...IDLE_LOAD, finalShare: 0.8 }),
      () => 0,
    );
    assert.deepEqual(pacer.pace(true, false), { partialIntervalSamples: Number.POSITIVE_INFINITY, effort: 'reduced' });
    assert.equal(pacer.pace(true, true).effort, 'full');
  });

  test('is reduced while finals take much, and the reduction that follows does not bring it back', () => {
    let effort: ReturnType<typeof effortAt> = 'full';
    const seen = [0.2, 0.74, 0.75, 0.65, 0.6, 0.59, 0.7, 0.9].map((finalShare) => {
      effort = effortAt({ ...IDLE_LOAD, finalShare }, effort);
      return effort;
    });
    assert.deepEqual(seen, ['full', 'full', 'reduced', 'reduced', 'reduced', 'full', 'full', 'reduced']);
  });
});

// What the engine tells of its load, from events at given times.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WindowCost } from './engine-messages.ts';
import { LoadMeter } from './load-meter.ts';

/** @param seconds in the encoder and the decoder, half each */
function cost(seconds: number): WindowCost {
  const half = 500 * seconds;
  return { encodeMs: half, decodeMs: half, steps: 1, batchRows: 1, tokens: 1, draftTokens: 0, acceptedTokens: 0, attempts: 1 };
}

function near(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) < 1e-9, `${actual}, expected ${expected}`);
}

test('before anything happened there are the times of the warm-up and nothing else', () => {
  assert.deepEqual(new LoadMeter(3, 0.2).load(100, 0), {
    engines: 3,
    finalShare: 0,
    partialShare: 0,
    fileShare: 0,
    callers: 1,
    finalShareOfOthers: 0,
    finalSeconds: 0.2,
    partialSeconds: 0.1,
    oldestFinalSeconds: 0,
    finalDelaySeconds: 0,
    silentSeconds: 0,
  });
});

test('shares are engine seconds over those that there were: 2 s at least, 10 s at most', () => {
  const meter = new LoadMeter(2, 0.2);
  meter.started(50);
  meter.finished('final', cost(0.4), 0.5, 50.5);
  near(meter.load(50.5, 0).finalShare, 0.4 / (2 * 2));
  meter.finished('partial', cost(0.1), 0.2, 54);
  meter.finished('file', cost(3), 4, 54);
  const load = meter.load(54, 1.5);
  near(load.finalShare, 0.4 / (2 * 4));
  near(load.partialShare, 0.1 / (2 * 4));
  near(load.fileShare, 3 / (2 * 4));
  near(load.oldestFinalSeconds, 1.5);
  near(meter.load(60.4, 0).finalShare, 0.4 / (2 * 10));
});

test('what is older than 10 s is forgotten, the mean times are not', () => {
  const meter = new LoadMeter(1, 0.2);
  meter.finished('final', cost(1), 3, 0);
  meter.finished('final', cost(2), 4, 5);
  const load = meter.load(10, 0);
  near(load.finalShare, 0.2);
  near(load.finalDelaySeconds, 4);
  const later = meter.load(100, 0);
  near(later.finalShare, 0);
  near(later.finalDelaySeconds, 0);
  near(later.finalSeconds, 1.5);
});

test('a share is at most 1, though a long window counts when it ends', () => {
  const meter = new LoadMeter(1, 0.2);
  meter.started(0);
  meter.finished('file', cost(5), 5, 1);
  near(meter.load(1, 0).fileShare, 1);
});

test('mean times are those of the last 32 of a kind; a partial is half a final until one was measured', () => {
  const meter = new LoadMeter(1, 1);
  for (let i = 0; i < 40; i++) meter.finished('final', cost(i < 8 ? 100 : 0.1), 1, i);
  near(meter.load(40, 0).finalSeconds, 0.1);
  near(meter.load(40, 0).partialSeconds, 0.05);
  meter.finished('partial', cost(0.08), 0.1, 40);
  near(meter.load(40, 0).partialSeconds, 0.08);
});

test('one long delay among few says nothing: it is the second longest of fewer than 20', () => {
  const meter = new LoadMeter(1, 0.2);
  const delayAfter = (seconds: number): number => {
    meter.finished('final', cost(0.1), seconds, 1);
    return meter.load(1, 0).finalDelaySeconds;
  };
  near(delayAfter(5), 5);
  near(delayAfter(1), 1);
  near(delayAfter(2), 2);
  near(delayAfter(0.5), 2);
  near(delayAfter(4), 4);
});

test('the delay is the 95th percentile of finals, refused ones that waited included', () => {
  const meter = new LoadMeter(1, 0.2);
  for (let i = 1; i <= 20; i++) meter.finished('final', cost(0.1), i, 1);
  meter.finished('partial', cost(0.1), 99, 1);
  near(meter.load(1, 0).finalDelaySeconds, 19);
  meter.refused('final', 0, 1);
  meter.refused('partial', 50, 1);
  near(meter.load(1, 0).finalDelaySeconds, 19);
  meter.refused('final', 30, 1);
  meter.refused('final', 30, 1);
  near(meter.load(1, 0).finalDelaySeconds, 30);
});

test('a window given up while it ran counts for its time, at most for the mean, and leaves the mean alone', () => {
  const meter = new LoadMeter(1, 0.2);
  meter.abandoned('partial', 0.05, 1);
  near(meter.load(1, 0).partialShare, 0.05 / 2);
  meter.abandoned('partial', 60, 1);
  near(meter.load(1, 0).partialShare, 0.15 / 2);
  near(meter.load(1, 0).partialSeconds, 0.1);
});

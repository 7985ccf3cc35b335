// measureLevel against known signals.

import assert from 'node:assert/strict';
import test from 'node:test';
import { measureLevel, SILENCE_DBFS } from './level.ts';

test('a full-scale sine reads -3 dBFS and peaks at 0', () => {
  const level = measureLevel(Float32Array.from({ length: 16_000 }, (_, i) => Math.sin((2 * Math.PI * 1000 * i) / 16_000)));
  assert.ok(Math.abs(level.rmsDbfs + 3.01) < 0.01);
  assert.ok(Math.abs(level.peakDbfs) < 0.01);
});

test('silence and nothing read the floor, as finite numbers', () => {
  assert.deepEqual(measureLevel(new Float32Array(100)), { rmsDbfs: SILENCE_DBFS, peakDbfs: SILENCE_DBFS });
  assert.deepEqual(measureLevel(new Float32Array(0)), { rmsDbfs: SILENCE_DBFS, peakDbfs: SILENCE_DBFS });
});

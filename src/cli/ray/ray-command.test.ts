// Values of the options of `ray start`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRange, parseShare } from './ray-command.ts';

test('replicas are a range or a number', () => {
  assert.deepEqual(parseRange('1:4'), { min: 1, max: 4 });
  assert.deepEqual(parseRange('2'), { min: 2, max: 2 });
  for (const wrong of ['', '0', '0:2', '3:2', '1:', ':1', '1:2:3', '-1', '1.5', 'many'])
    assert.throws(() => parseRange(wrong), /MIN:MAX/, wrong);
});

test('GPUs are a share of one, or whole ones', () => {
  for (const [text, value] of [
    ['0', 0],
    ['0.25', 0.25],
    ['1', 1],
    ['2', 2],
  ] as const) {
    assert.equal(parseShare(text), value);
  }
  for (const wrong of ['', '-1', '1.5', 'half', 'NaN', 'Infinity']) assert.throws(() => parseShare(wrong), /share/, wrong);
});

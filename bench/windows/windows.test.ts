// What bench/windows.ts varies, and its picture.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseWindowsOptions, variantsOf } from './options.ts';
import { plotVariants } from './plot.ts';

test('rules are varied a value at a time, from their defaults', () => {
  const parsed = parseWindowsOptions(['--vary', 'beams=3,5', '--vary', 'beamThreshold=-0.9']);
  assert.ok('options' in parsed);
  assert.deepEqual(
    variantsOf(parsed.options.vary).map(({ label, rules }) => [label, rules]),
    [
      ['default', {}],
      ['beams 3', { beams: 3 }],
      ['beamThreshold -0.9', { beamThreshold: -0.9 }],
    ],
  );
});

test('what cannot be varied is named', () => {
  assert.throws(() => parseWindowsOptions(['--vary', 'temperatures=1']), /temperatures is none of/);
  assert.throws(() => parseWindowsOptions(['--vary', 'beams=two']), /beams: got two/);
  assert.throws(() => parseWindowsOptions(['--vary', 'beams']), /beams: got/);
  assert.throws(() => parseWindowsOptions(['--streams', '0']), /--streams: got 0/);
  assert.ok('help' in parseWindowsOptions(['--help']));
});

test('the plot shows each rule with its values and the defaults', async () => {
  const point = { errors: 1, words: 100, werPercent: 1, cpuPerSecond: 0.1 };
  const svg = await plotVariants(
    [
      { ...point, label: 'default', rule: null, value: null },
      { ...point, label: 'beams 3', rule: 'beams', value: 3, cpuPerSecond: 0.08 },
    ],
    'of a test',
  );
  for (const text of ['beams', 'default', 'word errors', 'of a test']) assert.ok(svg.includes(text), text);
});

// The memory estimate: weights as large as published models, batches that grow with memory and shrink with the model.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toyConfig } from '../../test/toy-model.ts';
import type { ModelConfig } from '../model/config.ts';
import { mostPositions, weightBytes, windowBytes } from './device-memory.ts';

const GIB = 2 ** 30;
const heads = (count: number) => Array.from({ length: count }, (_, i): [number, number] => [0, i]);
const config = (encoderLayers: number, decoderLayers: number, width: number, vocabularySize: number): ModelConfig =>
  toyConfig({
    encoderLayers,
    decoderLayers,
    width,
    vocabularySize,
    maxAudioPositions: 1500,
    maxTextPositions: 448,
    alignmentHeads: heads(6),
  });
const BASE = config(6, 6, 512, 51_865);
const LARGE = config(32, 32, 1280, 51_866);
const TURBO = config(32, 4, 1280, 51_866);

test('weights are those of the published models, in millions of parameters', () => {
  for (const [model, published] of [
    [BASE, 74],
    [LARGE, 1550],
    [TURBO, 809],
  ] as const) {
    const millions = weightBytes(model, 'float16') / 2 / 1e6;
    assert.ok(Math.abs(millions / published - 1) < 0.04, `${millions}, published ${published}`);
  }
  assert.equal(weightBytes(BASE, 'float32'), 2 * weightBytes(BASE, 'float16'));
});

test('a window takes more the longer it is, the larger the model and the wider its numbers', () => {
  assert.ok(windowBytes(BASE, 'float16', 1500) > windowBytes(BASE, 'float16', 650));
  assert.ok(windowBytes(LARGE, 'float16', 650) > windowBytes(TURBO, 'float16', 650));
  assert.ok(windowBytes(TURBO, 'float16', 650) > windowBytes(BASE, 'float16', 650));
  assert.ok(windowBytes(BASE, 'float32', 650) > windowBytes(BASE, 'float16', 650));
});

test('a batch holds whole windows, more of them the more memory there is, and one where there is hardly any', () => {
  let last = 0;
  for (const gib of [0, 1, 4, 16, 80]) {
    const positions = mostPositions(TURBO, 'float16', gib * GIB);
    assert.equal(positions % 1500, 0);
    assert.ok(positions >= Math.max(1500, last), `${gib} GiB: ${positions}`);
    last = positions;
  }
  assert.equal(mostPositions(LARGE, 'float16', 2 * GIB), 1500, 'weights of 3 GB leave nothing of 2');
  // 32 windows of live streams on half of a card of 24 GB.
  assert.ok(mostPositions(TURBO, 'float16', 9 * GIB) >= 32 * 700);
});

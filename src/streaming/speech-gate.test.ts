// Level and detector gates on known signals.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hasSpeech, isSilent, levelDb } from './speech-gate.ts';

describe('the level gate', () => {
  test('measures a full-scale square wave as 0 dBFS and digital silence as none', () => {
    assert.equal(levelDb(new Float32Array(320).fill(-1), 0, 320), 0);
    assert.equal(levelDb(new Float32Array(320), 0, 320), Number.NEGATIVE_INFINITY);
  });

  test('is closed by no more than 20 ms over the threshold, wherever they are', () => {
    const pcm = new Float32Array(16_000).fill(0.0005);
    assert.ok(isSilent(pcm, -60));
    pcm.fill(0.01, 15_700, 16_000);
    assert.ok(!isSilent(pcm, -60));
    assert.ok(isSilent(new Float32Array(0), -60));
  });
});

describe('the detector gate', () => {
  const cases: readonly (readonly [name: string, probabilities: readonly number[], contextSamples: number, expected: boolean])[] = [
    ['two frames in a row are speech', [0, 0.6, 0.6, 0], 0, true],
    ['single frames are clicks', [0.9, 0, 0.9, 0], 0, false],
    ['frames of the context do not count', [0.9, 0.9, 0.9, 0], 3 * 512, false],
    ['the frame in which the context ends does', [0.9, 0.9, 0.9, 0.9], 2 * 512 + 100, true],
    ['one frame is enough where there is one', [0.9], 0, true],
    ['the threshold itself counts', [0.5, 0.5], 0, true],
    ['no frames, no speech', [], 0, false],
  ];
  for (const [name, probabilities, contextSamples, expected] of cases) {
    test(name, () => assert.equal(hasSpeech(Float32Array.from(probabilities), contextSamples, 0.5), expected));
  }
});

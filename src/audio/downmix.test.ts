// Downmix: the mean where it holds the signal, a channel where the mean cancels.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Downmix } from './downmix.ts';

const tone = (length: number, amplitude: number, hertz = 440): Float32Array =>
  Float32Array.from({ length }, (_, i) => amplitude * Math.sin((2 * Math.PI * hertz * i) / 16_000));

function mix(planes: readonly Float32Array[], step = 777): Float32Array {
  const downmix = new Downmix(planes.length);
  const output: number[] = [];
  for (let at = 0; at < planes[0].length; at += step) output.push(...downmix.push(planes.map((plane) => plane.subarray(at, at + step))));
  output.push(...downmix.flush());
  return Float32Array.from(output);
}

const rms = (pcm: Float32Array): number => Math.sqrt(pcm.reduce((sum, sample) => sum + sample * sample, 0) / pcm.length);

test('channels in antiphase give one of them instead of silence', () => {
  const left = tone(16_000, 0.5);
  assert.deepEqual(mix([left, left.map((sample) => -sample)]), left);
});

test('speech in one channel only comes through as the mean', () => {
  const left = tone(16_000, 0.5);
  assert.deepEqual(
    mix([left, new Float32Array(16_000)]),
    left.map((sample) => sample / 2),
  );
});

test('independent channels are both heard', () => {
  const mixed = mix([tone(16_000, 0.5, 440), tone(16_000, 0.5, 613)]);
  assert.ok(Math.abs(rms(mixed) - 0.25) < 0.01);
});

test('a stream that turns to antiphase gets its level back within 0.4 s, without a click', () => {
  const left = tone(48_000, 0.5);
  const right = left.map((sample, i) => (i >= 16_000 && i < 32_000 ? -sample : sample));
  const mixed = mix([left, right]);
  assert.equal(mixed.length, left.length);
  // The turn is noticed within 0.4 s, when the energies before it have faded.
  for (let start = 0; start < 48_000; start += 1600) {
    if (start >= 16_000 && start < 16_000 + 6400) continue;
    assert.ok(rms(mixed.subarray(start, start + 1600)) > 0.3, `quiet at ${start}`);
  }
  for (let i = 1; i < mixed.length; i++) assert.ok(Math.abs(mixed[i] - mixed[i - 1]) < 0.2, `click at ${i}`);
});

test('the cut of the blocks does not matter', () => {
  const planes = [tone(5000, 0.5), tone(5000, -0.5), tone(5000, 0.1, 90)];
  assert.deepEqual(mix(planes, 1), mix(planes, 5000));
});

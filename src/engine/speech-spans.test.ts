// speechSpans: the rules of silero-vad's get_speech_timestamps, one at a time.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { speechSpans } from './speech-spans.ts';

const NO_PAD = { padMs: 0 };
/** `[probability, frames]` pairs, 32 ms a frame. */
const frames = (...runs: readonly (readonly [number, number])[]): Float32Array =>
  Float32Array.from(runs.flatMap(([probability, count]) => new Array<number>(count).fill(probability)));

test('one run over the threshold is one span', () => {
  assert.deepEqual(speechSpans(frames([0, 5], [0.9, 10], [0, 20]), NO_PAD), [{ start: 5 * 512, end: 15 * 512 }]);
});

test('silence gives no span, and so does a run of 250 ms or less', () => {
  assert.deepEqual(speechSpans(frames([0.1, 100])), []);
  assert.deepEqual(speechSpans(frames([0, 5], [0.9, 7], [0, 20])), []);
  assert.equal(speechSpans(frames([0, 5], [0.9, 8], [0, 20])).length, 1);
});

test('a pause shorter than minSilenceMs does not end a span', () => {
  const probabilities = frames([0.9, 10], [0, 3], [0.9, 10], [0, 10], [0.9, 10]);
  assert.deepEqual(speechSpans(probabilities, NO_PAD), [
    { start: 0, end: 23 * 512 },
    { start: 33 * 512, end: 43 * 512 },
  ]);
});

test('between the two thresholds speech goes on', () => {
  assert.deepEqual(speechSpans(frames([0.9, 10], [0.4, 30], [0, 10]), NO_PAD), [{ start: 0, end: 40 * 512 }]);
});

test('speech at the end ends with the audio', () => {
  assert.deepEqual(speechSpans(frames([0, 5], [0.9, 10]), { padMs: 0, sampleCount: 7400 }), [{ start: 2560, end: 7400 }]);
});

test('padding stays inside the audio and neighbours share a short pause', () => {
  const probabilities = frames([0.9, 10], [0, 5], [0.9, 10], [0, 1]);
  assert.deepEqual(speechSpans(probabilities, { padMs: 100 }), [
    { start: 0, end: 10 * 512 + 1280 },
    { start: 15 * 512 - 1280, end: 26 * 512 },
  ]);
});

test('spans are in order, apart and inside, for any probabilities and options', () => {
  const property = fc.property(
    fc.array(fc.float({ min: 0, max: 1, noNaN: true }), { maxLength: 300 }),
    fc.record({
      threshold: fc.double({ min: 0.05, max: 0.95, noNaN: true }),
      minSpeechMs: fc.nat(500),
      minSilenceMs: fc.nat(500),
      padMs: fc.nat(500),
    }),
    (probabilities, options) => {
      let last = 0;
      for (const { start, end } of speechSpans(Float32Array.from(probabilities), options)) {
        assert.ok(start >= last && end > start && Number.isInteger(start) && Number.isInteger(end));
        last = end;
      }
      assert.ok(last <= probabilities.length * 512);
    },
  );
  fc.assert(property);
});

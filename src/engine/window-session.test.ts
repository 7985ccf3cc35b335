// The decoder's loop inside the graph equals the loop outside of it: greedy, beams, sampling, forced tokens, limits, windows of many lengths.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { decodeTogether } from '../../test/decode-batch.ts';
import { TEST_THREADS } from '../../test/engine.ts';
import { fakeWeights, toyConfig } from '../../test/toy-model.ts';
import { writeDecoderGraph } from '../model/decoder-graph.ts';
import { writeEncoderGraph } from '../model/encoder-graph.ts';
import type { LinearForm } from '../model/graph-layers.ts';
import { writeWindowGraph } from '../model/window-graph.ts';
import type { DecodedText, DecodeJob } from './decode.ts';
import { MASKED, ModelSession, SAMPLES_PER_POSITION } from './model-session.ts';
import { seededRandom } from './sampling.ts';
import { WindowSession } from './window-session.ts';

const root = mkdtempSync(join(tmpdir(), 'windows-'));
after(() => rmSync(root, { recursive: true }));

const config = toyConfig({
  width: 128,
  alignmentHeads: [
    [0, 1],
    [1, 0],
    [1, 1],
  ],
});
const weights = fakeWeights(config, 'random');
const FORMS: Readonly<Record<string, { encoder: LinearForm; decoder: LinearForm }>> = {
  float32: { encoder: 'float32', decoder: 'float32' },
  float16: { encoder: 'float16', decoder: 'float16' },
  int8: { encoder: 'rows', decoder: 'blocks' },
};

async function windowSession(form: string): Promise<WindowSession> {
  const path = join(root, `${form}.onnx`);
  writeWindowGraph(path, weights, config, FORMS[form] as (typeof FORMS)[string]);
  return WindowSession.load(path, config, 'cpu', TEST_THREADS);
}

async function stepped(): Promise<ModelSession> {
  const files = { encoder: join(root, 'encoder.onnx'), decoder: join(root, 'decoder.onnx') };
  writeEncoderGraph(files.encoder, weights, config, 'float32');
  writeDecoderGraph(files.decoder, weights, config, 'float32');
  return ModelSession.load(files, config, TEST_THREADS);
}

const steps = await stepped();
const loop = await windowSession('float32');
after(() => Promise.all([steps.close(), loop.close()]));

const VOCABULARY = config.vocabularySize;
const mask = new Float32Array(VOCABULARY);
const firstMask = new Float32Array(VOCABULARY);
for (let token = 0; token < VOCABULARY; token += 3) firstMask[token] = MASKED;
for (let token = 1; token < VOCABULARY; token += 7) mask[token] = MASKED;
const NO_SPEECH = 299;

const sound = (positions: number, pitch: number): Float32Array =>
  Float32Array.from({ length: positions * SAMPLES_PER_POSITION }, (_, i) => 0.3 * Math.sin(i * (pitch + i * 1e-6)));

/** A window whose last two seconds are silent, as the engine's are. */
const windowOf = (positions: number, pitch: number): Float32Array => {
  const pcm = new Float32Array((positions + 100) * SAMPLES_PER_POSITION);
  pcm.set(sound(positions, pitch));
  return pcm;
};

const WINDOWS = [
  { pcm: windowOf(60, 0.05), initial: [7], startIndex: 0 },
  { pcm: windowOf(100, 0.11), initial: [31, 250, 7, 12, 90], startIndex: 2 },
  { pcm: windowOf(25, 0.31), initial: [7, 45, 46], startIndex: 0 },
  { pcm: windowOf(80, 0.21), initial: [7, 45], startIndex: 0 },
] as const;

function job(w: number, run: Partial<DecodeJob>): DecodeJob {
  const { initial, startIndex } = WINDOWS[w] as (typeof WINDOWS)[number];
  return {
    initial,
    startIndex,
    alignIndex: initial.length - 1,
    mask,
    firstMask,
    limit: 12,
    temperature: 0,
    random: seededRandom(w),
    cancelled: () => false,
    ...run,
  };
}

function same(actual: DecodedText, expected: DecodedText, what: string): void {
  assert.deepEqual(actual.tokens, expected.tokens, what);
  assert.equal(actual.ended, expected.ended, what);
  const close = (a: ArrayLike<number>, b: ArrayLike<number>, tolerance: number, name: string): void => {
    assert.equal(a.length, b.length, `${what}, ${name}`);
    for (let i = 0; i < a.length; i++)
      assert.ok(Math.abs((a[i] as number) - (b[i] as number)) < tolerance, `${what}, ${name} ${i}: ${a[i]} ${b[i]}`);
  };
  close(actual.logProbabilities, expected.logProbabilities, 1e-4, 'log-probability');
  close([actual.noSpeechProbability], [expected.noSpeechProbability], 1e-5, 'no speech');
  assert.equal(actual.alignmentRows, expected.alignmentRows);
  assert.equal(actual.positions, expected.positions);
  close(actual.alignment, expected.alignment, 1e-4, 'alignment');
}

for (const beams of [1, 2, 5]) {
  for (const endOfText of [-1, 33, 120]) {
    test(`${beams} beams, end ${endOfText}`, async () => {
      const options = { beams, endOfText, noSpeech: NO_SPEECH };
      const all = WINDOWS.map((_, w) => w);
      const run = { limit: 12 };
      const { texts } = await loop.decode(
        all.map((w) => ({ pcm: WINDOWS[w]!.pcm, job: job(w, run) })),
        options,
      );
      for (const w of all) {
        const {
          texts: [expected],
        } = await decodeTogether(steps, [{ pcm: WINDOWS[w]!.pcm, job: job(w, run) }], options);
        same(texts[w] as DecodedText, expected as DecodedText, `window ${w}`);
      }
    });
  }
}

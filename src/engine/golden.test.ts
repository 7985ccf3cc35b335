// The graphs compute what Whisper computes: log-mel, encoder, caches, logits, alignment and word times against golden vectors.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { cosine, TEST_THREADS, testModel, testSession } from '../../test/engine.ts';
import { type GoldenWindow, goldenClip, goldenInput, readGolden } from '../../test/golden/golden.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import { CrossCache, SelfCache } from './caches.ts';
import { Engine } from './engine.ts';
import { MASKED, type ModelSession, type StepOutput, sessionOptions } from './model-session.ts';
import { allPositions, SAMPLES_PER_POSITION } from './positions.ts';
import { DEFAULT_RULES } from './rules.ts';

const NAMES = ['base', 'tiny.en'] as const;

/**
 * Largest absolute differences of float32. The golden file has 5 decimals (logits 4) and its own reference agrees with
 * CTranslate2 within its looser `tolerance`; measured here: 6e-6, 1e-5, 7e-5 and 5e-5, the rest is room for other processors.
 */
const FLOAT32 = { logMel: 3e-5, encoder: 1e-4, cross: 2e-4, logits: 5e-4, alignment: 5e-4 } as const;

/**
 * int8 rounds weights and activations, so single values move; the direction of the encoder's output and the likeliest token have
 * to stay. The limit of the log-probabilities is what CTranslate2's int8 loses of logits on the same clip (in the golden
 * file): 2.11 for `base`, where ours lose 0.78 at most, 1.43 for `tiny.en`, where ours lose 1.17.
 * Cosines measured: 0.9995 or more where there is audio, 0.9943 or more over everything (silence has little of its own to keep).
 */
const INT8_COSINE = { audio: 0.999, all: 0.99 } as const;

/**
 * Word times against faster-whisper's, in seconds, measured: none is off by more than 0.04, two positions, half of them by
 * nothing. Probabilities are the reference's only where the window is (30 s); a short window may be surer or less sure of a word.
 */
const WORDS = [
  { marginSeconds: 30, medianError: 0.02, largestError: 0.06, probability: 0.1 },
  { marginSeconds: 3, medianError: 0.02, largestError: 0.1, probability: 0.3 },
] as const;

/** Reads [a, b] or [a, b, c] of a row-major tensor with these dimensions. */
const at = (data: ArrayLike<number>, dims: readonly number[], ...index: number[]): number =>
  data[index.reduce((offset, i, axis) => offset * (dims[axis] as number) + i, 0)] as number;

function close(actual: number, expected: number, tolerance: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual}, expected ${expected} within ${tolerance}`);
}

function moments(data: ArrayLike<number>): { mean: number; deviation: number } {
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < data.length; i++) {
    sum += data[i] as number;
    squares += (data[i] as number) ** 2;
  }
  const mean = sum / data.length;
  return { mean, deviation: Math.sqrt(squares / data.length - mean * mean) };
}

/** What the encoder graph itself says of a window. */
async function encoderOutputs(session: InferenceSession, samples: number): Promise<{ mel: Float32Array; encoded: Float32Array }> {
  const { indices, keyBias } = allPositions(samples / SAMPLES_PER_POSITION);
  const feeds = {
    pcm: new Tensor('float32', goldenInput(samples), [1, samples]),
    positions: new Tensor('int64', BigInt64Array.from(indices, BigInt), [indices.length]),
    key_bias: new Tensor('float32', keyBias, [indices.length]),
  };
  const outputs = await session.run(feeds, ['mel', 'encoded']);
  return { mel: outputs.mel?.data as Float32Array, encoded: outputs.encoded?.data as Float32Array };
}

/** The decoder forced through the golden tokens in one pass, with the logits of every position. */
async function forced(session: ModelSession, window: GoldenWindow): Promise<{ cross: CrossCache; output: StepOutput }> {
  const cross = new CrossCache(session.shape);
  const self = new SelfCache(session.shape);
  cross.reset(1, window.samples / SAMPLES_PER_POSITION);
  self.reset(1);
  await session.encode(goldenInput(window.samples), cross, 0);
  const { tokens } = window.decoder;
  const count = tokens.length;
  const indices = BigInt64Array.from(tokens, (_, i) => BigInt(i));
  const selfBias = new Float32Array(count * count);
  for (let q = 0; q < count; q++) selfBias.fill(MASKED, q * count + q + 1, (q + 1) * count);
  const output = await session.step(
    {
      tokens: BigInt64Array.from(tokens, BigInt),
      positions: indices,
      count,
      selfBias,
      select: indices,
      selected: count,
      mask: new Float32Array(session.config.vocabularySize),
      candidates: 20,
      withLogits: true,
    },
    cross,
    self,
  );
  return { cross, output };
}

for (const name of NAMES) {
  const golden = readGolden(name);

  test(`${name} in float32 computes the reference's numbers, padded to 30 s and on a window of 7 s`, async () => {
    const { model, session } = await testSession(name, 'float32');
    const encoder = await InferenceSession.create(model.graphs.encoder, sessionOptions(TEST_THREADS));
    const rough = await InferenceSession.create((await testModel(name, 'int8')).graphs.encoder, sessionOptions(TEST_THREADS));
    for (const window of golden.windows) {
      const label = `${window.seconds} s`;
      const { mel, encoded } = await encoderOutputs(encoder, window.samples);

      const { logMel } = window;
      assert.equal(mel.length, logMel.bins * logMel.frames);
      logMel.values.forEach((row, i) => {
        row.forEach((expected, j) => {
          const actual = at(mel, [logMel.frames, logMel.bins], logMel.atFrames[j] as number, logMel.atBins[i] as number);
          close(actual, expected, FLOAT32.logMel, `${label}, log-mel ${logMel.atBins[i]}, ${logMel.atFrames[j]}`);
        });
      });
      const ofMel = moments(mel);
      close(ofMel.mean, logMel.mean, FLOAT32.logMel, `${label}, mean of log-mel`);
      close(ofMel.deviation, logMel.deviation, FLOAT32.logMel, `${label}, deviation of log-mel`);
      close(
        mel.reduce((a, b) => Math.min(a, b)),
        logMel.minimum,
        FLOAT32.logMel,
        `${label}, floor of log-mel`,
      );
      close(
        mel.reduce((a, b) => Math.max(a, b)),
        logMel.maximum,
        FLOAT32.logMel,
        `${label}, peak of log-mel`,
      );

      const { encoder: expected } = window;
      assert.equal(encoded.length, expected.positions * expected.width);
      expected.values.forEach((row, i) => {
        row.forEach((value, j) => {
          const actual = at(
            encoded,
            [expected.positions, expected.width],
            expected.atPositions[i] as number,
            expected.atChannels[j] as number,
          );
          close(actual, value, FLOAT32.encoder, `${label}, encoder ${expected.atPositions[i]}, ${expected.atChannels[j]}`);
        });
      });
      const ofEncoded = moments(encoded);
      close(ofEncoded.mean, expected.mean, FLOAT32.encoder, `${label}, mean of the encoder`);
      close(ofEncoded.deviation, expected.deviation, FLOAT32.encoder, `${label}, deviation of the encoder`);

      const { cross, output } = await forced(session, window);
      const feeds = cross.feeds();
      for (const part of window.cross) {
        const data = feeds[`cross_${part.name}_${part.layer}`]?.data as Float32Array;
        const dims = [model.config.heads, cross.positions, session.shape.headDim];
        part.values.forEach((head, h) => {
          head.forEach((row, p) => {
            row.forEach((value, c) => {
              const actual = at(data, dims, part.atHeads[h] as number, part.atPositions[p] as number, part.atChannels[c] as number);
              close(actual, value, FLOAT32.cross, `${label}, cross ${part.name} of layer ${part.layer}`);
            });
          });
        });
      }
      checkLogits(window, output, model.config.vocabularySize, FLOAT32.logits, label);
      checkLikeliest(window, output);
      const { alignment } = window;
      assert.deepEqual(model.config.alignmentHeads, alignment.heads);
      const dims = [alignment.heads.length, window.decoder.tokens.length, cross.positions];
      alignment.values.forEach((head, h) => {
        head.forEach((row, t) => {
          row.forEach((value, p) => {
            const actual = at(output.alignment, dims, h, alignment.atTokens[t] as number, alignment.atPositions[p] as number);
            close(actual, value, FLOAT32.alignment, `${label}, alignment ${h}, ${alignment.atTokens[t]}, ${alignment.atPositions[p]}`);
          });
        });
      });

      // The reference holds a grid only; the float32 graph, now proven, stands for the whole.
      const { encoded: rounded } = await encoderOutputs(rough, window.samples);
      const audio = Math.ceil(golden.clipSamples / SAMPLES_PER_POSITION) * expected.width;
      const ofAudio = cosine(encoded.subarray(0, audio), rounded.subarray(0, audio));
      assert.ok(ofAudio >= INT8_COSINE.audio, `${label}: cosine of the int8 encoder where there is audio ${ofAudio}`);
      const ofAll = cosine(encoded, rounded);
      assert.ok(ofAll >= INT8_COSINE.all, `${label}: cosine of the int8 encoder ${ofAll}`);
    }
    await Promise.all([session.close(), encoder.release(), rough.release()]);
  });

  // Not logits: int8 leaves out what is common to all of a row.
  test(`${name} in int8 keeps log-probabilities within what CTranslate2's int8 loses, and their order`, async () => {
    const { model, session } = await testSession(name, 'int8');
    for (const window of golden.windows) {
      const { output } = await forced(session, window);
      checkLogProbabilities(window, output, model.config.vocabularySize, golden.int8.logits, `${window.seconds} s`);
      checkLikeliest(window, output);
    }
    await session.close();
  });

  for (const precision of ['float32', 'int8'] as const) {
    test(`${name} in ${precision} hears the sentence with the reference's word times`, async () => {
      const { session, tokenizer } = await testSession(name, precision);
      for (const { marginSeconds, medianError, largestError, probability } of WORDS) {
        const engine = new Engine(session, tokenizer, { rules: { ...DEFAULT_RULES, marginSeconds }, maxBatch: 1 });
        const { words } = (await engine.submit({ pcm: goldenClip(), language: 'en' }).answer).result;
        assert.deepEqual(
          words.map(({ text }) => text),
          golden.words.map(({ text }) => text),
        );
        const tokens = words.flatMap((word) => word.tokens);
        assert.deepEqual(tokens, golden.greedy.tokens.slice(0, -1));
        const errors = words.flatMap(({ start, end }, i) => [
          Math.abs(start / SAMPLE_RATE - (golden.words[i]?.start as number)),
          Math.abs(end / SAMPLE_RATE - (golden.words[i]?.end as number)),
        ]);
        errors.sort((a, b) => a - b);
        close(errors[errors.length >> 1] as number, 0, medianError + 1e-6, `margin ${marginSeconds} s, median error`);
        close(errors.at(-1) as number, 0, largestError + 1e-6, `margin ${marginSeconds} s, largest error`);
        words.forEach((word, i) => {
          close(word.probability, golden.words[i]?.probability as number, probability, `margin ${marginSeconds} s, "${word.text}"`);
        });
      }
      await session.close();
    });
  }
}

function checkLogits(window: GoldenWindow, output: StepOutput, vocabulary: number, tolerance: number, label: string): void {
  for (const { index, top, mean, logSumExp } of window.decoder.steps) {
    const logits = output.logits.subarray(index * vocabulary, (index + 1) * vocabulary);
    for (const [token, logit] of top) close(logits[token] as number, logit, tolerance, `${label}, token ${index}, logit of ${token}`);
    close(logSumExpOf(logits), logSumExp, tolerance, `${label}, token ${index}, log-sum-exp`);
    close(moments(logits).mean, mean, tolerance, `${label}, token ${index}, mean logit`);
  }
}

function checkLogProbabilities(window: GoldenWindow, output: StepOutput, vocabulary: number, tolerance: number, label: string): void {
  for (const { index, top, mean, logSumExp } of window.decoder.steps) {
    const logits = output.logits.subarray(index * vocabulary, (index + 1) * vocabulary);
    const own = logSumExpOf(logits);
    for (const [token, logit] of top) {
      const what = `${label}, token ${index}, log-probability of ${token}`;
      close((logits[token] as number) - own, logit - logSumExp, tolerance, what);
    }
    close(moments(logits).mean - own, mean - logSumExp, tolerance, `${label}, token ${index}, mean log-probability`);
  }
}

function logSumExpOf(logits: Float32Array): number {
  const peak = logits.reduce((a, b) => Math.max(a, b));
  return peak + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - peak), 0));
}

/** The first candidate and its log-probability come from the graph's own soft-max and top-k. */
function checkLikeliest(window: GoldenWindow, output: StepOutput): void {
  const candidates = output.tokens.length / window.decoder.tokens.length;
  for (const { index, top } of window.decoder.steps) {
    assert.equal(Number(output.tokens[index * candidates]), top[0]?.[0]);
    const values = [...output.values.subarray(index * candidates, (index + 1) * candidates)];
    assert.deepEqual(
      values,
      values.toSorted((a, b) => b - a),
    );
  }
}

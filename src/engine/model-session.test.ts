// Graphs of models that are not like the two published ones in reach, run in onnxruntime: odd widths, 128 mel bins, far data.

import assert from 'node:assert/strict';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema } from 'onnx-buf';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { cosine, TEST_THREADS } from '../../test/engine.ts';
import { fakeWeights, toyConfig } from '../../test/toy-model.ts';
import type { ModelConfig } from '../model/config.ts';
import { writeDecoderGraph } from '../model/decoder-graph.ts';
import { writeEncoderGraph } from '../model/encoder-graph.ts';
import { OnnxGraph } from '../model/onnx-graph.ts';
import { CrossCache, SelfCache } from './caches.ts';
import { MASKED, ModelSession } from './model-session.ts';
import { SAMPLES_PER_POSITION } from './positions.ts';

const root = mkdtempSync(join(tmpdir(), 'session-'));
after(() => rmSync(root, { recursive: true }));

const CONFIGS: Readonly<Record<string, ModelConfig>> = {
  'width 128': toyConfig({ width: 128 }),
  'width 192, one layer and three': toyConfig({ width: 192, encoderLayers: 1, decoderLayers: 3 }),
  '128 mel bins, vocabulary of large-v3, alignment heads in two layers': toyConfig({
    width: 128,
    melBins: 128,
    vocabularySize: 51_866,
    alignmentHeads: [
      [0, 1],
      [1, 0],
      [1, 1],
    ],
  }),
};

/**
 * What another order of float additions may change, where logits spread over about 10. In int8 rows do not depend on each other: measured 1e-6
 * in the alignment, nothing in the logits. But on some processor it may tip the rounding of an activation, a step of 1/127 of its row's peak.
 */
const ORDER = { float32: { alignment: 5e-5, logits: 5e-5 }, int8: { alignment: 2e-3, logits: 0.05 } } as const;

async function load(config: ModelConfig, precision: 'float32' | 'int8'): Promise<ModelSession> {
  const dir = mkdtempSync(join(root, 'toy-'));
  const files = { encoder: join(dir, 'encoder.onnx'), decoder: join(dir, 'decoder.onnx') };
  const weights = fakeWeights(config, 'random');
  writeEncoderGraph(files.encoder, weights, config, precision);
  writeDecoderGraph(files.decoder, weights, config, precision);
  return ModelSession.load(files, config, TEST_THREADS);
}

/** A sweep with a little noise. */
const sound = (positions: number): Float32Array =>
  Float32Array.from({ length: positions * SAMPLES_PER_POSITION }, (_, i) => 0.3 * Math.sin(i * (0.05 + i * 1e-6)) + 0.01 * Math.sin(i * i));

/** Feeds `tokens` in pieces of `sizes`; the last piece's logits and all alignment rows. */
async function feed(session: ModelSession, cross: CrossCache, tokens: readonly number[], sizes: readonly number[]) {
  const self = new SelfCache(session.shape);
  self.reset(1);
  const alignment: number[][] = session.config.alignmentHeads.map(() => []);
  let logits = new Float32Array(0);
  let candidates: bigint[] = [];
  let done = 0;
  for (const count of sizes) {
    const selfBias = new Float32Array(count * (done + count));
    for (let q = 0; q < count; q++) selfBias.fill(MASKED, q * (done + count) + done + q + 1, (q + 1) * (done + count));
    const output = await session.step(
      {
        tokens: BigInt64Array.from(tokens.slice(done, done + count), BigInt),
        positions: BigInt64Array.from({ length: count }, (_, i) => BigInt(done + i)),
        count,
        selfBias,
        select: BigInt64Array.of(BigInt(count - 1)),
        selected: 1,
        mask: new Float32Array(session.config.vocabularySize),
        candidates: 3,
        withLogits: true,
      },
      cross,
      self,
    );
    const perHead = output.alignment.length / alignment.length;
    alignment.forEach((rows, h) => {
      rows.push(...output.alignment.subarray(h * perHead, (h + 1) * perHead));
    });
    // The session writes the next step's into the same memory.
    logits = output.logits.slice();
    candidates = [...output.tokens];
    done += count;
  }
  return { logits, candidates, alignment: alignment.flat() };
}

/** What is left of logits when int8 leaves out what is common to them. */
function lessMean(logits: Float32Array): Float32Array {
  const mean = logits.reduce((sum, logit) => sum + logit, 0) / logits.length;
  return logits.map((logit) => logit - mean);
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs((a[i] as number) - (b[i] as number)));
  return largest;
}

for (const [name, config] of Object.entries(CONFIGS)) {
  test(`${name}: a step at a time equals one pass, and int8 follows float32`, async () => {
    const tokens = [3, 14, 15, 92, 65, 35, 89];
    const results = [];
    for (const precision of ['float32', 'int8'] as const) {
      const session = await load(config, precision);
      const cross = new CrossCache(session.shape);
      cross.reset(1, 100);
      await session.encode(sound(100), cross, 0);
      const once = await feed(session, cross, tokens, [7]);
      const slowly = await feed(session, cross, tokens, [3, 1, 1, 2]);
      const close = (other: typeof once, what: string): void => {
        for (const part of ['alignment', 'logits'] as const) {
          const off = largestDifference(once[part], other[part]);
          assert.ok(off < ORDER[precision][part], `${precision}, ${what}, ${part}: ${off}`);
        }
      };
      close(slowly, 'in pieces');
      const ranked = [...once.logits.keys()].sort((a, b) => (once.logits[b] as number) - (once.logits[a] as number));
      assert.deepEqual(once.candidates.map(Number), ranked.slice(0, 3));

      // In a longer cache the padding is not looked at.
      const padded = new CrossCache(session.shape);
      padded.reset(1, 150);
      await session.encode(sound(100), padded, 0);
      assert.equal(padded.chosen[0]?.indices.length, 100);
      const inPadded = await feed(session, padded, tokens, [7]);
      const off = largestDifference(once.logits, inPadded.logits);
      assert.ok(off < ORDER[precision].logits, `${precision}, padded: ${off}`);
      results.push(once);
      await session.close();
    }
    const [exact, rounded] = results as [(typeof results)[0], (typeof results)[0]];
    // Measured with random weights, which have no structure that rounding respects: 0.9998.
    const alike = cosine(lessMean(exact.logits), lessMean(rounded.logits));
    assert.ok(alike > 0.999, `logits ${alike}`);
    assert.ok(cosine(exact.alignment, rounded.alignment) > 0.999, `alignment ${cosine(exact.alignment, rounded.alignment)}`);
  });
}

test('a position that stands for two weighs as much as two that are alike, in the encoder and in the decoder', async () => {
  const session = await load(toyConfig({ width: 128 }), 'float32');
  const pcm = sound(100);
  const encoded = async (indices: number[], doubled: boolean): Promise<CrossCache> => {
    const cross = new CrossCache(session.shape);
    cross.reset(1, indices.length);
    const keyBias = Float32Array.from(indices, (index) => (doubled && index % 3 === 0 ? Math.LN2 : 0));
    await session.encode(pcm, cross, 0, { indices: Int32Array.from(indices), keyBias });
    return cross;
  };
  const once = Array.from({ length: 100 }, (_, i) => i);
  const tokens = [3, 14, 15, 92, 65, 35, 89];
  const logitsOf = async (cross: CrossCache) => (await feed(session, cross, tokens, [7])).logits;
  const twice = await logitsOf(
    await encoded(
      once.flatMap((i) => (i % 3 === 0 ? [i, i] : [i])),
      false,
    ),
  );
  const weighted = await logitsOf(await encoded(once, true));
  const plain = await logitsOf(await encoded(once, false));
  const [off, moved] = [largestDifference(weighted, twice), largestDifference(weighted, plain)];
  assert.ok(off < ORDER.float32.logits && moved > 20 * off, `${off} off, where weights change ${moved}`);
  await session.close();
});

test('a tensor whose data lies beyond 2 GB is read from there', async () => {
  const dir = join(root, 'far');
  mkdirSync(dir);
  const path = join(dir, 'far.onnx');
  const data = `${path}.data`;
  // While the graph is written, its data goes nowhere; then a sparse file gets the one tensor that matters.
  symlinkSync('/dev/null', data);
  const values = Float32Array.from({ length: 2048 }, (_, i) => i / 7);
  const graph = OnnxGraph.create('far', path);
  const x = graph.input('x', 'float32', [2048]);
  const length = 1_100_000_000;
  const zeros = ['low', 'high'].map((name) => graph.constant(name, 'uint8', [length], new Uint8Array(length)));
  const far = graph.constant('far', 'float32', [values.length], values);
  // The large ones are used too, or they would be dropped: their first bytes, 0.
  const [low, high] = zeros.map((name) => graph.op('Cast', [graph.op('Slice', [name, graph.ints(0), graph.ints(1)])], { to: 1 })) as [
    string,
    string,
  ];
  graph.op('Add', [graph.op('Add', [x, far]), graph.op('Add', [low, high])], {}, 'y');
  graph.output('y', 'float32', [2048]);
  graph.save();
  unlinkSync(data);
  const initializers = fromBinary(ModelProtoSchema, readFileSync(path)).graph?.initializer ?? [];
  const entry = initializers.find((tensor) => tensor.name === 'far')?.externalData.find(({ key }) => key === 'offset');
  const offset = Number(entry?.value);
  assert.ok(offset > 2 ** 31);
  const file = openSync(data, 'w');
  ftruncateSync(file, offset);
  writeSync(file, new Uint8Array(values.buffer), 0, values.byteLength, offset);
  closeSync(file);

  // Folding would compute the slice while loading, which copies all of a large tensor.
  const session = await InferenceSession.create(path, { graphOptimizationLevel: 'disabled' });
  const { y } = await session.run({ x: new Tensor('float32', new Float32Array(2048), [2048]) });
  assert.deepEqual(y?.data, values);
  await session.release();
});

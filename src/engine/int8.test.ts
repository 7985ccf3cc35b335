// What onnxruntime computes in int8 on this machine's processor, whatever its instructions: exact products, a vocabulary that keeps its precision.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { fakeWeights, toyConfig } from '../../test/toy-model.ts';
import { layerContext, type Precision } from '../model/graph-layers.ts';
import { type OnnxGraph, writeGraph } from '../model/onnx-graph.ts';
import { quantiseColumns } from '../model/quantise.ts';
import { Vocabulary } from '../model/vocabulary.ts';
import { sessionOptions } from './model-session.ts';

const root = mkdtempSync(join(tmpdir(), 'int8-'));
after(() => rmSync(root, { recursive: true }));

async function run(build: (graph: OnnxGraph) => void, feeds: Record<string, Tensor>): Promise<Record<string, Float32Array>> {
  const path = join(mkdtempSync(join(root, 'graph-')), 'graph.onnx');
  writeGraph('graph', path, build);
  const session = await InferenceSession.create(path, sessionOptions(1));
  const outputs = await session.run(feeds);
  await session.release();
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data as Float32Array]));
}

const INPUTS = 64;
const OUTPUTS = 48;

/** The largest weights that fit side by side, whichever two inputs a kernel takes together. */
const LARGEST: Readonly<Record<string, (input: number) => number>> = {
  'two alike': () => -1,
  'one and none': (input) => (input % 2 === 0 ? -1 : 0),
  'none and one': (input) => (input % 2 === 0 ? 0 : 1),
  'the outer of four': (input) => (input % 4 === 0 || input % 4 === 3 ? 1 : 0),
};

for (const [name, weightOf] of Object.entries(LARGEST)) {
  test(`the largest activations times the largest weights, ${name}: no product is lost to an overflow`, async () => {
    const weight = Float32Array.from({ length: OUTPUTS * INPUTS }, (_, i) => weightOf(i % INPUTS));
    const { values } = quantiseColumns(weight, OUTPUTS, INPUTS);
    const expected = 255 * values.filter((_, i) => i % OUTPUTS === 0).reduce((sum, value) => sum + value, 0);
    assert.ok(Math.abs(expected) > 255 * 63 * (INPUTS / 2), `${expected}`);
    for (const rows of [1, 2, 5, 33]) {
      const x = new Tensor('float32', new Float32Array(rows * INPUTS).fill(255), [rows, INPUTS]);
      const { y } = await run(
        (graph) => {
          const w = graph.constant('w', 'int8', [INPUTS, OUTPUTS], values);
          const scales = graph.constant('scales', 'float32', [OUTPUTS], new Float32Array(OUTPUTS).fill(1));
          graph.op('ms.DynamicQuantizeMatMul', [graph.input('x', 'float32', ['rows', INPUTS]), w, scales], {}, 'y');
          graph.output('y', 'float32', ['rows', OUTPUTS]);
        },
        { x },
      );
      assert.deepEqual([...(y as Float32Array)], new Array(rows * OUTPUTS).fill(expected), `${rows} rows`);
    }
  });
}

test('a vocabulary as published ones are, of much in common and gains far apart, keeps embeddings and probabilities', async () => {
  const config = toyConfig({ width: 128 });
  const { width, vocabularySize } = config;
  const random = fakeWeights(config, 'random');
  const weights = {
    ...random,
    read(name: string): Float32Array {
      const values = random.read(name);
      if (name === 'decoder.embed_tokens.weight') return values.map((value, i) => 0.1 * value + 0.3 * Math.sin(i % width));
      if (name === 'decoder.layer_norm.weight') return values.map((_, c) => (c % 16 === 0 ? 40 : 1));
      return values;
    },
  };
  const tokens = BigInt64Array.of(0n, 7n, 299n, 7n);
  const compute = (precision: Precision) =>
    run(
      (graph) => {
        const vocabulary = new Vocabulary(weights, config);
        const context = layerContext(graph, weights, config, precision);
        const ids = graph.input('tokens', 'int64', ['rows', 'N']);
        const embedded = vocabulary.embed(context, ids, graph.input('positions', 'int64', ['rows', 'N']));
        graph.op('Identity', [embedded], {}, 'embedded');
        graph.op('LogSoftmax', [vocabulary.logits(context, embedded)], { axis: -1 }, 'probabilities');
        graph.output('embedded', 'float32', ['rows', 'N', width]);
        graph.output('probabilities', 'float32', ['rows', 'N', vocabularySize]);
      },
      { tokens: new Tensor('int64', tokens, [2, 2]), positions: new Tensor('int64', BigInt64Array.of(0n, 1n, 2n, 3n), [2, 2]) },
    );
  const [exact, rounded] = [await compute('float32'), await compute('int8')];
  for (const [name, limit] of [
    ['embedded', 5e-3],
    ['probabilities', 0.1],
  ] as const) {
    const errors = (exact[name] as Float32Array).map((value, i) => value - ((rounded[name] as Float32Array)[i] as number));
    const off = Math.hypot(...errors) / Math.sqrt(errors.length);
    assert.ok(off < limit, `${name} off by ${off} (root mean square)`);
  }
});

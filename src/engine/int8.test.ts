// What onnxruntime computes in int8 on this machine's processor, whatever its instructions: exact products, a vocabulary that keeps its precision.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { fakeWeights, toyConfig } from '../../test/toy-model.ts';
import { layerContext, linear, MOSTLY_POSITIVE, type Precision } from '../model/graph-layers.ts';
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
      const x = new Tensor('uint8', new Uint8Array(rows * INPUTS).fill(255), [rows, INPUTS]);
      const { y } = await run(
        (graph) => {
          const w = graph.constant('w', 'int8', [INPUTS, OUTPUTS], values);
          const scales = graph.constant('scales', 'float32', [OUTPUTS], new Float32Array(OUTPUTS).fill(1));
          const none = graph.constant('zero_point', 'uint8', [], Uint8Array.of(0));
          const activations = graph.input('x', 'uint8', ['rows', INPUTS]);
          graph.op('ms.MatMulIntegerToFloat', [activations, w, graph.scalar(1), scales, none], {}, 'y');
          graph.output('y', 'float32', ['rows', OUTPUTS]);
        },
        { x },
      );
      assert.deepEqual([...(y as Float32Array)], new Array(rows * OUTPUTS).fill(expected), `${rows} rows`);
    }
  });
}

for (const name of ['fc1', 'fc2']) {
  test(`a row of ${name} is the same alone and beside others, louder and quieter ones`, async () => {
    const config = toyConfig({ width: 128 });
    const weights = fakeWeights(config, 'random');
    const layer = `decoder.layers.0.${name}`;
    const [, inputs] = weights.shape(`${layer}.weight`) as [number, number];
    // fc2 sees what came out of a GELU.
    const [range, least] = name === 'fc2' ? [MOSTLY_POSITIVE, -0.17] : [undefined, -1];
    const row = (loudness: number, seed: number): Float32Array =>
      Float32Array.from({ length: inputs }, (_, i) => Math.max(least, loudness * Math.sin((i + 1) * (seed + 0.7))));
    const compute = async (precision: Precision, rows: readonly Float32Array[]): Promise<Float32Array[]> => {
      const x = new Tensor('float32', Float32Array.from(rows.flatMap((values) => [...values])), [1, rows.length, inputs]);
      const { y } = await run(
        (graph) => {
          const context = layerContext(graph, weights, config, precision);
          graph.op('Identity', [linear(context, graph.input('x', 'float32', [1, 'rows', inputs]), layer, range)], {}, 'y');
          graph.output('y', 'float32', [1, 'rows', 'outputs']);
        },
        { x },
      );
      const outputs = (y as Float32Array).length / rows.length;
      return rows.map((_, r) => (y as Float32Array).slice(r * outputs, (r + 1) * outputs));
    };
    const nothing = new Float32Array(inputs);
    const rows = [
      ...[1, 1000, 1e-3, 1, 30].map((loudness, seed) => row(loudness, seed)),
      nothing,
      row(1, 2).map((value) => -Math.abs(value)),
    ];
    const together = await compute('int8', rows);
    const exact = await compute('float32', rows);
    for (const [r, values] of rows.entries()) {
      assert.deepEqual((await compute('int8', [values]))[0], together[r], `row ${r}`);
      const length = Math.hypot(...(exact[r] as Float32Array));
      const off = Math.hypot(...(exact[r] as Float32Array).map((value, i) => value - ((together[r] as Float32Array)[i] as number)));
      assert.ok(off <= 0.02 * length, `row ${r}: ${off} of ${length}`);
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

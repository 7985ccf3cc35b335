// The graph builder on every published size: inputs, outputs and parameters of both graphs, without writing their gigabytes.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import {
  type GraphProto,
  ModelProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  type ValueInfoProto,
} from 'onnx-buf';
import { fakeWeights, HEAD_WIDTH, toyConfig, weightShapes } from '../../test/toy-model.ts';
import type { ModelConfig } from './config.ts';
import { writeDecoderGraph } from './decoder-graph.ts';
import { writeEncoderGraph } from './encoder-graph.ts';
import type { Precision } from './graph-layers.ts';
import { OnnxGraph } from './onnx-graph.ts';
import { BLOCK_SIZE } from './quantise.ts';
import { ALIGNMENT, writeWindowGraph } from './window-graph.ts';

const root = mkdtempSync(join(tmpdir(), 'graphs-'));
after(() => rmSync(root, { recursive: true }));

/** [encoder layers, decoder layers, width, mel bins, vocabulary, published parameters in millions] */
const SIZES: Readonly<Record<string, readonly [number, number, number, number, number, number]>> = {
  tiny: [4, 4, 384, 80, 51_865, 39],
  'tiny.en': [4, 4, 384, 80, 51_864, 39],
  base: [6, 6, 512, 80, 51_865, 74],
  'base.en': [6, 6, 512, 80, 51_864, 74],
  small: [12, 12, 768, 80, 51_865, 244],
  medium: [24, 24, 1024, 80, 51_865, 769],
  'large-v2': [32, 32, 1280, 80, 51_865, 1550],
  'large-v3': [32, 32, 1280, 128, 51_866, 1550],
  'large-v3-turbo': [32, 4, 1280, 128, 51_866, 809],
  'distil-small.en': [12, 4, 768, 80, 51_864, 166],
  'distil-medium.en': [24, 2, 1024, 80, 51_864, 394],
  'distil-large-v3': [32, 2, 1280, 128, 51_866, 756],
};

/** Layers are alike: two of each show all there is, and the rest is multiplied. */
const FEW_LAYERS = 2;

function configOf(name: string): ModelConfig {
  const [, , width, melBins, vocabularySize] = SIZES[name] as (typeof SIZES)[string];
  return toyConfig({ name, width, melBins, vocabularySize, encoderLayers: FEW_LAYERS, decoderLayers: FEW_LAYERS });
}

const elements = (shape: readonly (number | bigint)[]): number => shape.reduce<number>((a, b) => a * Number(b), 1);
const parametersOf = (config: ModelConfig): number => [...weightShapes(config).values()].reduce((sum, shape) => sum + elements(shape), 0);

/** Writes a graph whose data file is the null device. */
function build(
  write: typeof writeEncoderGraph,
  config: ModelConfig,
  precision: Precision,
): { graph: GraphProto; weights: ReturnType<typeof fakeWeights> } {
  const path = join(mkdtempSync(join(root, 'graph-')), 'graph.onnx');
  symlinkSync('/dev/null', `${path}.data`);
  const weights = fakeWeights(config, 'zeros');
  write(path, weights, config, precision);
  const { graph } = fromBinary(ModelProtoSchema, readFileSync(path));
  assert.ok(graph);
  return { graph, weights };
}

/** `name: type[dimensions]` of inputs or outputs. */
function signature(values: readonly ValueInfoProto[]): string[] {
  return values.map(({ name, type }) => {
    assert.equal(type?.value.case, 'tensorType');
    const { elemType, shape } = type.value.value as { elemType: number; shape?: { dim: { value: { value?: unknown } }[] } };
    return `${name}: ${TensorProto_DataType[elemType]}[${shape?.dim.map(({ value }) => value.value).join(', ')}]`;
  });
}

const isConstant = ({ name }: TensorProto): boolean =>
  /^(ints_|int32_|range_|last_axis|indices_|scalar_|zero_point_|fourier|mel_filter)/.test(name);
const parameters = (graph: GraphProto): TensorProto[] => graph.initializer.filter((tensor) => !isConstant(tensor));

/** Weight bytes in the data file and in the graph itself. */
function storedBytes(tensor: TensorProto): number {
  const length = tensor.externalData.find(({ key }) => key === 'length')?.value;
  return length === undefined ? tensor.rawData.length : Number(length);
}

/** Every value that a node reads is made before, given or constant; names are unique. Bodies may read what is around them. */
function checkWiring(graph: GraphProto, around: ReadonlySet<string> = new Set([''])): void {
  const known = new Set([...around, ...graph.input.map(({ name }) => name), ...graph.initializer.map(({ name }) => name)]);
  assert.equal(known.size, around.size + graph.input.length + graph.initializer.length, 'two inputs or initializers share a name');
  for (const node of graph.node) {
    for (const input of node.input) assert.ok(known.has(input), `${node.name} reads ${input} before it is made`);
    for (const { g } of node.attribute) if (g) checkWiring(g, known);
    for (const output of node.output) {
      assert.ok(!known.has(output), `${output} is made twice`);
      known.add(output);
    }
  }
  for (const { name } of graph.output) assert.ok(known.has(name), `output ${name} is never made`);
}

for (const name of Object.keys(SIZES)) {
  test(`${name}: both graphs have the documented inputs and outputs, and hold every parameter once`, () => {
    const [encoderLayers, decoderLayers, width, melBins, vocabulary, published] = SIZES[name] as (typeof SIZES)[string];
    const config = configOf(name);
    const heads = width / HEAD_WIDTH;
    const encoder = build(writeEncoderGraph, config, 'float32');
    const decoder = build(writeDecoderGraph, config, 'float32');
    checkWiring(encoder.graph);
    checkWiring(decoder.graph);

    assert.deepEqual(signature(encoder.graph.input), [
      'pcm: FLOAT[batch, samples]',
      'positions: INT64[positions]',
      'key_bias: FLOAT[positions]',
    ]);
    const cross = (positions: string, batch: string): string[] =>
      [0, 1].flatMap((l) => [
        `cross_k_${l}: FLOAT[${batch}, ${heads}, ${positions}, ${HEAD_WIDTH}]`,
        `cross_v_${l}: FLOAT[${batch}, ${heads}, ${positions}, ${HEAD_WIDTH}]`,
        ...(l === 1 ? [`align_k_1: FLOAT[${batch}, 2, ${HEAD_WIDTH}, ${positions}]`] : []),
      ]);
    assert.deepEqual(
      signature(encoder.graph.output).toSorted(),
      [`mel: FLOAT[batch, frames, ${melBins}]`, `encoded: FLOAT[batch, positions, ${width}]`, ...cross('positions', 'batch')].toSorted(),
    );
    const self = (kind: string, length: string): string[] =>
      [0, 1].flatMap((l) => ['k', 'v'].map((part) => `${kind}_${part}_${l}: FLOAT[R, ${heads}, ${length}, ${HEAD_WIDTH}]`));
    assert.deepEqual(
      signature(decoder.graph.input).toSorted(),
      [
        'tokens: INT64[R, N]',
        'positions: INT64[R, N]',
        'self_bias: FLOAT[R, 1, N, PN]',
        'cross_bias: FLOAT[B, 1, GN, S]',
        'select: INT64[R, M]',
        `mask: FLOAT[MR, MM, ${vocabulary}]`,
        'k: INT64[1]',
        ...self('past', 'P'),
        ...cross('S', 'B'),
      ].toSorted(),
    );
    assert.deepEqual(
      signature(decoder.graph.output).toSorted(),
      [
        'align: FLOAT[B, 2, GN, S]',
        `logits: FLOAT[R, M, ${vocabulary}]`,
        'top_values: FLOAT[R, M, K]',
        'top_tokens: INT64[R, M, K]',
        ...self('present', 'PN'),
      ].toSorted(),
    );

    // Nothing is left out, read for nothing or stored twice.
    const reads = new Map([...encoder.weights.reads, ...decoder.weights.reads]);
    assert.deepEqual([...reads.keys()].sort(), encoder.weights.names);
    assert.equal(reads.size, encoder.weights.reads.size + decoder.weights.reads.size, 'a tensor is in both graphs');
    const stored = [...parameters(encoder.graph), ...parameters(decoder.graph)];
    assert.equal(
      stored.reduce((sum, tensor) => sum + elements(tensor.dims), 0),
      parametersOf(config),
    );
    const whole = parametersOf({ ...config, encoderLayers, decoderLayers }) / 1e6;
    assert.ok(Math.abs(whole / published - 1) < 0.04, `${whole} million parameters, published ${published}`);
  });

  test(`${name} as whole windows in float16: wired, every parameter once, in two bytes`, () => {
    const config = configOf(name);
    const { graph, weights } = build(writeWindowGraph, config, 'float16');
    checkWiring(graph);
    assert.deepEqual([...weights.reads.keys()].sort(), weights.names);
    for (const [tensor, count] of weights.reads) assert.equal(count, 1, `${tensor} is read ${count} times`);
    const stored = parameters(graph);
    // The table of positions has rows of zeros up to a multiple of 16.
    const zeros = (Math.ceil(config.maxAudioPositions / ALIGNMENT) * ALIGNMENT - config.maxAudioPositions) * config.width;
    assert.equal(
      stored.reduce((sum, tensor) => sum + elements(tensor.dims), 0),
      parametersOf(config) + zeros,
    );
    for (const { dataType, name: tensor } of stored) assert.equal(dataType, TensorProto_DataType.FLOAT16, tensor);
    const loop = graph.node.find(({ opType }) => opType === 'Loop');
    const carried = 4 + 2 * config.decoderLayers;
    assert.equal(loop?.input.length, 2 + carried);
    assert.equal(loop?.output.length, carried + 4);
  });

  test(`${name} in int8: one byte a weight, and scales`, () => {
    const config = configOf(name);
    const encoder = build(writeEncoderGraph, config, 'int8').graph;
    const decoder = build(writeDecoderGraph, config, 'int8').graph;
    checkWiring(encoder);
    checkWiring(decoder);
    const shapes = weightShapes(config);
    const blocks: string[] = [];
    for (const { name: tensor, dims, dataType } of [...parameters(encoder), ...parameters(decoder)]) {
      const weight = shapes.get(tensor.replace(/\.(blocks|columns|scales)$/, '.weight')) as readonly number[];
      if (tensor.endsWith('.blocks')) {
        blocks.push(tensor);
        assert.equal(dataType, TensorProto_DataType.UINT8);
        const [outputs, inputs] = weight as [number, number];
        assert.deepEqual(dims.map(Number), [outputs, Math.ceil(inputs / BLOCK_SIZE), BLOCK_SIZE]);
      } else if (tensor.endsWith('.columns')) {
        assert.equal(dataType, TensorProto_DataType.INT8);
        assert.deepEqual(dims.map(Number), [...weight].reverse());
      } else assert.equal(dataType, TensorProto_DataType.FLOAT, tensor);
    }
    assert.deepEqual(blocks, ['decoder.layers.0.fc2.blocks', 'decoder.layers.1.fc2.blocks']);
    const bytes = [...parameters(encoder), ...parameters(decoder)].reduce((sum, tensor) => sum + storedBytes(tensor), 0);
    // Convolutions and position tables stay float32; the narrow models have most of them.
    assert.ok(bytes < 1.35 * parametersOf(config), `${bytes} bytes for ${parametersOf(config)} parameters`);
  });
}

test('tensors beyond 2 and 4 GB have their offsets as whole decimal numbers', () => {
  const path = join(root, 'far.onnx');
  symlinkSync('/dev/null', `${path}.data`);
  const graph = OnnxGraph.create('far', path);
  // Zeros that nobody touches take no memory, and the null device no time. Odd on purpose: the next one starts on a page.
  const length = 1_500_000_001;
  for (let i = 0; i < 4; i++) graph.constant(`part_${i}`, 'uint8', [length], new Uint8Array(length));
  graph.save();
  const page = 4096;
  const step = Math.ceil(length / page) * page;
  const tensors = fromBinary(ModelProtoSchema, readFileSync(path)).graph?.initializer ?? [];
  assert.deepEqual(
    tensors.map(({ dataLocation, externalData }) => [dataLocation, Object.fromEntries(externalData.map(({ key, value }) => [key, value]))]),
    [0, 1, 2, 3].map((i) => [
      TensorProto_DataLocation.EXTERNAL,
      { location: 'far.onnx.data', offset: `${i * step}`, length: '1500000001' },
    ]),
  );
  assert.ok(3 * step > 2 ** 32);
});

test('a constant whose shape does not fit its data is refused by name', () => {
  const graph = OnnxGraph.create('wrong', join(root, 'wrong.onnx'));
  assert.throws(() => graph.constant('odd', 'float32', [2, 3], new Float32Array(5)), /odd.*2,3.*6.*5/);
  graph.abandon();
});

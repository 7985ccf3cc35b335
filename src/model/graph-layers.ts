// The layers that Whisper's encoder and decoder share, written into an OnnxGraph in the precision asked for.

import type { OnnxGraph } from './onnx-graph.ts';
import { BLOCK_SIZE, quantiseBlocks, quantiseColumns } from './quantise.ts';
import { toHalves } from './tensor-values.ts';
import type { Weights } from './weights.ts';

/**
 * What a graph computes its linear layers in. int8 is for processors: as accurate as float32 and several times as fast; what is between
 * the layers stays float32. float16 is for GPUs; log-mel and the soft-max over the vocabulary stay float32.
 */
export type Precision = 'int8' | 'float32' | 'float16';

/**
 * `fused`: onnxruntime's kernel. `composed`: plain kernels, as slow as they are exact: WebGPU's fused one takes subgroups of 8 or more
 * threads for granted, and is 12 % off on a device with fewer.
 */
export type AttentionForm = 'fused' | 'composed';

export interface LayerContext {
  readonly graph: OnnxGraph;
  readonly weights: Weights;
  readonly precision: Precision;
  readonly attention: AttentionForm;
  readonly heads: number;
  /** Width of a head. */
  readonly headDim: number;
}

export const layerContext = (
  graph: OnnxGraph,
  weights: Weights,
  { heads, width }: { readonly heads: number; readonly width: number },
  precision: Precision,
  attention: AttentionForm = 'fused',
): LayerContext => ({ graph, weights, precision, attention, heads, headDim: width / heads });

/** What the activations between layers are held in. */
export const activationType = ({ precision }: Pick<LayerContext, 'precision'>): 'float16' | 'float32' =>
  precision === 'float16' ? 'float16' : 'float32';

/** Added to a score, it is as good as minus infinity, and still finite for rows that see nothing else. */
export const MASKED_SCORE = { float16: -3e4, float32: -1e9 } as const;

/** A constant in the type of the activations. */
export function floats(context: LayerContext, name: string, shape: readonly number[], read: () => Float32Array): string {
  const type = activationType(context);
  return context.graph.constant(name, type, shape, () => (type === 'float16' ? toHalves(read()) : read()));
}

/** A tensor of the weights as it is, in the type of the activations. */
export function tensor(context: LayerContext, name: string): string {
  return floats(context, name, context.weights.shape(name), () => context.weights.read(name));
}

/** A number in the type of the activations. */
export function activationScalar(context: LayerContext, value: number): string {
  if (activationType(context) === 'float32') return context.graph.scalar(value);
  return floats(context, `scalar_${value}_float16`, [], () => Float32Array.of(value));
}

/**
 * y = x · Wᵀ + b of the layer `name` (`name.weight` [outputs, inputs], `name.bias` [outputs] or absent).
 * @param x [batch, rows, inputs]
 * @param range of the rows, for int8 @default both sides of 0
 * @returns [batch, rows, outputs]
 */
export function linear(context: LayerContext, x: string, name: string, range?: RowRange): string {
  const { graph, precision, weights } = context;
  const bias = biasOf(context, name);
  const read = (): Float32Array => weights.read(`${name}.weight`);
  if (precision === 'int8') return rowScaledMatMul(graph, x, columnTable(context, name, read), { bias, range });
  const [outputs, inputs] = weights.shape(`${name}.weight`) as [number, number];
  const w = floats(context, `${name}.transposed`, [inputs, outputs], () => transpose(read(), outputs, inputs));
  const y = graph.op('MatMul', [x, w]);
  return bias ? graph.op('Add', [y, bias]) : y;
}

/**
 * The same with scales of weights and activations each BLOCK_SIZE inputs in int8: more exact where a few inputs outweigh all others of their
 * row, as fast as `linear` on one row, and two to three times as slow on several.
 */
export function blockLinear(context: LayerContext, x: string, name: string): string {
  const { graph, precision, weights } = context;
  if (precision !== 'int8') return linear(context, x, name);
  const [outputs, inputs] = weights.shape(`${name}.weight`) as [number, number];
  const blocks = Math.ceil(inputs / BLOCK_SIZE);
  const quantised = once(() => quantiseBlocks(weights.read(`${name}.weight`), outputs, inputs));
  const values = graph.constant(`${name}.blocks`, 'uint8', [outputs, blocks, BLOCK_SIZE], () => quantised().values);
  const scales = graph.constant(`${name}.scales`, 'float32', [outputs, blocks], () => quantised().scales);
  const attributes = { K: inputs, N: outputs, bits: 8, block_size: BLOCK_SIZE, accuracy_level: 4 };
  return graph.op('ms.MatMulNBits', [x, values, scales, '', '', biasOf(context, name)], attributes);
}

const biasOf = (context: LayerContext, name: string): string =>
  context.weights.has(`${name}.bias`) ? tensor(context, `${name}.bias`) : '';

/** An int8 matrix of one scale a column, as constants of a graph: values [inputs, outputs], scales float32 [outputs]. */
export interface ColumnTable {
  readonly values: string;
  readonly scales: string;
}

/** @param read `name.weight`, [outputs, inputs] row-major */
export function columnTable({ graph, weights }: LayerContext, name: string, read: () => Float32Array): ColumnTable {
  const [outputs, inputs] = weights.shape(`${name}.weight`) as [number, number];
  const quantised = once(() => quantiseColumns(read(), outputs, inputs));
  return {
    values: graph.constant(`${name}.columns`, 'int8', [inputs, outputs], () => quantised().values),
    scales: graph.constant(`${name}.scales`, 'float32', [outputs], () => quantised().scales),
  };
}

/** What rows are when their peak is brought to 1: `least` to 1. */
export interface RowRange {
  readonly least: number;
  /** Of 255 steps from `least` to 1, and the step at 0. */
  readonly step: number;
  readonly zero: number;
}

const BOTH_SIDES: RowRange = { least: -1, step: 1 / 127, zero: 128 };
/** Of what comes out of a GELU, which is never far below 0: finer steps. */
export const MOSTLY_POSITIVE: RowRange = { least: -0.25, step: 1.25 / 255, zero: 51 };

interface RowScaledOptions {
  /** Added to each row. @default nothing */
  readonly bias?: string | undefined;
  /** @default both sides of 0 */
  readonly range?: RowRange | undefined;
  /** Name of the result. @default a new one */
  readonly output?: string | undefined;
}

/**
 * x · w in int8, each row with a scale of its own: it is the same whichever rows are beside it. (`DynamicQuantizeMatMul` takes one scale for
 * all of them.) Equal divisions are merged by onnxruntime.
 */
export function rowScaledMatMul(
  graph: OnnxGraph,
  x: string,
  { values, scales }: ColumnTable,
  { bias = '', range: { least, step, zero } = BOTH_SIDES, output }: RowScaledOptions,
): string {
  const divisor = graph.op('Max', [graph.scalar(1e-9), ...peaks(graph, x, least)]);
  const zeroPoint = graph.constant(`zero_point_${zero}`, 'uint8', [], Uint8Array.of(zero));
  const quantised = graph.op('QuantizeLinear', [graph.op('Div', [x, divisor]), graph.scalar(step), zeroPoint]);
  const product = graph.op('ms.MatMulIntegerToFloat', [quantised, values, graph.scalar(step), scales, zeroPoint]);
  if (bias === '') return graph.op('Mul', [product, divisor], {}, output);
  return graph.op('Add', [graph.op('Mul', [product, divisor]), bias], {}, output);
}

/** The largest of them brings a row between `least` and 1. */
function peaks(graph: OnnxGraph, x: string, least: number): string[] {
  const along = { axes: [-1], keepdims: 1 };
  if (least === -1) return [graph.op('ReduceMax', [graph.op('Abs', [x])], along)];
  return [graph.op('ReduceMax', [x], along), graph.op('Mul', [graph.op('ReduceMin', [x], along), graph.scalar(1 / least)])];
}

export function layerNorm(context: LayerContext, x: string, name: string): string {
  return normalised(context.graph, x, tensor(context, `${name}.weight`), tensor(context, `${name}.bias`));
}

/** Layer norm of [..., width] with `gains` and `biases` [width]. */
export const normalised = (graph: OnnxGraph, x: string, gains: string, biases: string): string =>
  graph.op('LayerNormalization', [x, gains, biases], { axis: -1, epsilon: 1e-5 });

/** fc2(gelu(fc1(norm(x)))) + x, of the layer `prefix`. */
export function feedForward(context: LayerContext, x: string, prefix: string, second: typeof linear = linear): string {
  const hidden = linear(context, layerNorm(context, x, `${prefix}.final_layer_norm`), `${prefix}.fc1`);
  const activated = context.graph.op('ms.Gelu', [hidden]);
  return context.graph.op('Add', [x, second(context, activated, `${prefix}.fc2`, MOSTLY_POSITIVE)]);
}

/** [batch, rows, heads * headDim] -> [batch, heads, rows, headDim] */
export function splitHeads(graph: OnnxGraph, x: string, heads: number, output?: string): string {
  const split = graph.op('Reshape', [x, graph.ints(0, 0, heads, -1)]);
  return graph.op('Transpose', [split], { perm: [0, 2, 1, 3] }, output);
}

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** [rows, columns] row-major as [columns, rows] */
export function transpose(weight: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(weight.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = weight[r * columns + c] as number;
  return out;
}

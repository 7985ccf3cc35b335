// The layers that Whisper's encoder and decoder share, written into an OnnxGraph in the precision asked for.

import type { OnnxGraph } from './onnx-graph.ts';
import { BLOCK_SIZE, quantiseBlocks, quantiseColumns } from './quantise.ts';
import type { Weights } from './weights.ts';

/** What a graph computes its linear layers in; see ARCHITECTURE.md, "Precision". */
export type LinearForm =
  /** float32 weights and activations */
  | 'float32'
  /** int8, a weight scale each column and an activation scale each row: fastest on many rows (encoder) */
  | 'rows'
  /** int8, a weight and an activation scale each 128 values: fastest on few rows, and most exact (decoder) */
  | 'blocks';

export interface LayerContext {
  readonly graph: OnnxGraph;
  readonly weights: Weights;
  readonly form: LinearForm;
  readonly heads: number;
}

/**
 * y = x · Wᵀ + b of the layer `name` (`name.weight` [outputs, inputs], `name.bias` [outputs] or absent).
 * @param x [batch, rows, inputs]
 * @returns [batch, rows, outputs]
 */
export function linear({ graph, weights, form }: LayerContext, x: string, name: string): string {
  const [outputs, inputs] = weights.shape(`${name}.weight`) as [number, number];
  const read = (): Float32Array => weights.read(`${name}.weight`);
  const bias = weights.has(`${name}.bias`) ? graph.float(`${name}.bias`, weights.read(`${name}.bias`)) : '';
  if (form === 'blocks') {
    const { values, scales, blocks } = quantiseBlocks(read(), outputs, inputs);
    const w = graph.constant(`${name}.blocks`, 'uint8', [outputs, blocks, BLOCK_SIZE], values);
    const s = graph.float(`${name}.scales`, scales);
    return blockMatMul(graph, x, w, s, bias, inputs, outputs);
  }
  if (form === 'rows') {
    const { values, scales } = quantiseColumns(read(), outputs, inputs);
    const w = graph.constant(`${name}.columns`, 'int8', [inputs, outputs], values);
    return rowScaledMatMul(graph, x, w, graph.float(`${name}.scales`, scales), bias);
  }
  const y = graph.op('MatMul', [x, graph.float(`${name}.transposed`, transpose(read(), outputs, inputs), [inputs, outputs])]);
  return bias ? graph.op('Add', [y, bias]) : y;
}

/**
 * DynamicQuantizeMatMul takes one activation scale for its whole input, and one loud row then costs all others their
 * precision (measured on `base`: the encoder's output is off by 21 %). Rows brought to a peak of 1 first share that scale
 * without loss (4.7 %), and no row depends on its company. Equal divisions are merged by onnxruntime.
 */
function rowScaledMatMul(graph: OnnxGraph, x: string, w: string, scales: string, bias: string): string {
  const peak = graph.op('ReduceMax', [graph.op('Abs', [x])], { axes: [-1], keepdims: 1 });
  const divisor = graph.op('Max', [peak, graph.scalar(1e-9)]);
  const y = graph.op('Mul', [graph.op('ms.DynamicQuantizeMatMul', [graph.op('Div', [x, divisor]), w, scales]), divisor]);
  return bias ? graph.op('Add', [y, bias]) : y;
}

/** x · dequantised(w)ᵀ + bias, activations quantised to int8 in the same blocks. */
export function blockMatMul(graph: OnnxGraph, x: string, w: string, scales: string, bias: string, inputs: number, outputs: number): string {
  const attributes = { K: inputs, N: outputs, bits: 8, block_size: BLOCK_SIZE, accuracy_level: 4 };
  return graph.op('ms.MatMulNBits', [x, w, scales, '', '', bias], attributes);
}

export function layerNorm({ graph, weights }: LayerContext, x: string, name: string): string {
  const gamma = graph.float(`${name}.weight`, weights.read(`${name}.weight`));
  const beta = graph.float(`${name}.bias`, weights.read(`${name}.bias`));
  return graph.op('LayerNormalization', [x, gamma, beta], { axis: -1, epsilon: 1e-5 });
}

/** fc2(gelu(fc1(norm(x)))) + x, of the layer `prefix`. */
export function feedForward(context: LayerContext, x: string, prefix: string): string {
  const hidden = linear(context, layerNorm(context, x, `${prefix}.final_layer_norm`), `${prefix}.fc1`);
  const activated = context.graph.op('ms.Gelu', [hidden]);
  return context.graph.op('Add', [x, linear(context, activated, `${prefix}.fc2`)]);
}

/** [batch, rows, heads * headDim] -> [batch, heads, rows, headDim] */
export function splitHeads(graph: OnnxGraph, x: string, heads: number, output?: string): string {
  const split = graph.op('Reshape', [x, graph.ints(0, 0, heads, -1)]);
  return graph.op('Transpose', [split], { perm: [0, 2, 1, 3] }, output);
}

function transpose(weight: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(weight.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = weight[r * columns + c] as number;
  return out;
}

// One step of the decoder as an ONNX graph: tokens and caches in; the likeliest next tokens, alignment and longer caches out.

import type { ModelConfig } from './config.ts';
import { alignmentHeadsOf } from './encoder-graph.ts';
import { blockMatMul, feedForward, type LayerContext, type LinearForm, layerNorm, linear, splitHeads } from './graph-layers.ts';
import { type OnnxGraph, writeGraph } from './onnx-graph.ts';
import { BLOCK_SIZE, quantiseBlocks } from './quantise.ts';
import type { Weights } from './weights.ts';

/**
 * Writes the graph to `path` (and `path.data`).
 *
 * A batch has B windows and, with beam search, G hypotheses of each: R = B · G rows, those of one window side by side, so
 * that a window's cross-attention caches are stored once. N new tokens a row, P past ones, S audio positions.
 *
 * Inputs:
 * - `tokens`, `positions` int64 [R, N];
 * - `self_bias` float [R, 1, N, P + N], `cross_bias` float [B, 1, G · N, S]: added to attention scores, 0 or a large negative number;
 * - `past_k_L`, `past_v_L` [R, heads, P, headDim]; `cross_k_L`, `cross_v_L`, `align_k_L` as the encoder graph gives them;
 * - `select` int64 [R, M]: which of the N positions to predict from; `mask` float [1, 1, vocabulary] or [R, M, vocabulary], added to logits;
 * - `k` int64 [1]: how many candidates.
 *
 * Outputs:
 * - `top_values` float [R, M, k] log-probabilities after the mask, descending; `top_tokens` int64 [R, M, k];
 * - `logits` float [R, M, vocabulary] before the mask; `align` float [B, alignment heads, G · N, S]: scaled q · k;
 * - `present_k_L`, `present_v_L` [R, heads, P + N, headDim].
 */
export function writeDecoderGraph(path: string, weights: Weights, config: ModelConfig, form: LinearForm): void {
  writeGraph('whisper-decoder', path, (graph) => buildDecoder(graph, weights, config, form));
}

function buildDecoder(graph: OnnxGraph, weights: Weights, config: ModelConfig, form: LinearForm): void {
  const context: LayerContext = { graph, weights, form, heads: config.heads };
  const tokens = graph.input('tokens', 'int64', ['R', 'N']);
  const positions = graph.input('positions', 'int64', ['R', 'N']);
  graph.input('self_bias', 'float32', ['R', 1, 'N', 'PN']);
  graph.input('cross_bias', 'float32', ['B', 1, 'GN', 'S']);
  const vocabulary = vocabularyMatrix(context, config);
  const table = weights.read('decoder.embed_positions.weight');
  const places = graph.float('decoder.embed_positions.weight', table, weights.shape('decoder.embed_positions.weight'));
  let x = graph.op('Add', [vocabulary.embed(tokens), graph.op('Gather', [places, positions])]);
  const rowShape = graph.op('Shape', [x]);

  const alignments: string[] = [];
  for (let layer = 0; layer < config.decoderLayers; layer++) {
    x = selfAttention(context, x, layer, config);
    const cross = crossAttention(context, x, layer, config, rowShape);
    x = feedForward(context, cross.x, `decoder.layers.${layer}`);
    if (cross.alignment) alignments.push(cross.alignment);
  }
  graph.op('Concat', alignments, { axis: 1 }, 'align');
  graph.output('align', 'float32', ['B', config.alignmentHeads.length, 'GN', 'S']);

  const select = graph.op('Unsqueeze', [graph.input('select', 'int64', ['R', 'M']), graph.ints(-1)]);
  const selected = layerNorm(context, graph.op('GatherND', [x, select], { batch_dims: 1 }), 'decoder.layer_norm');
  const logits = graph.op('Identity', [vocabulary.project(selected)], {}, 'logits');
  graph.output('logits', 'float32', ['R', 'M', config.vocabularySize]);
  const masked = graph.op('Add', [logits, graph.input('mask', 'float32', ['MR', 'MM', config.vocabularySize])]);
  const logProbabilities = graph.op('LogSoftmax', [masked], { axis: -1 });
  graph.ops('TopK', [logProbabilities, graph.input('k', 'int64', [1])], ['top_values', 'top_tokens'], { axis: -1, largest: 1, sorted: 1 });
  graph.output('top_values', 'float32', ['R', 'M', 'K']);
  graph.output('top_tokens', 'int64', ['R', 'M', 'K']);
}

function selfAttention(context: LayerContext, x: string, layer: number, config: ModelConfig): string {
  const { graph, heads } = context;
  const prefix = `decoder.layers.${layer}`;
  const normed = layerNorm(context, x, `${prefix}.self_attn_layer_norm`);
  const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((name) => linear(context, normed, `${prefix}.self_attn.${name}`)) as [
    string,
    string,
    string,
  ];
  const headDim = config.width / heads;
  const past = ['k', 'v'].map((kind) => graph.input(`past_${kind}_${layer}`, 'float32', ['R', heads, 'P', headDim]));
  const present = ['k', 'v'].map((kind) => `present_${kind}_${layer}`);
  const outputs = [`attended_${layer}`, ...present];
  graph.ops('ms.MultiHeadAttention', [q, k, v, '', '', 'self_bias', ...past], outputs, { num_heads: heads });
  for (const name of present) graph.output(name, 'float32', ['R', heads, 'PN', headDim]);
  return graph.op('Add', [x, linear(context, `attended_${layer}`, `${prefix}.self_attn.out_proj`)]);
}

function crossAttention(
  context: LayerContext,
  x: string,
  layer: number,
  config: ModelConfig,
  rowShape: string,
): { x: string; alignment: string | null } {
  const { graph, heads } = context;
  const prefix = `decoder.layers.${layer}`;
  const headDim = config.width / heads;
  const [k, v] = ['k', 'v'].map((kind) => graph.input(`cross_${kind}_${layer}`, 'float32', ['B', heads, 'S', headDim])) as [string, string];
  const normed = layerNorm(context, x, `${prefix}.encoder_attn_layer_norm`);
  const q = linear(context, normed, `${prefix}.encoder_attn.q_proj`);
  // The hypotheses of a window become rows of one query, [B, G · N, width]: they share its keys and values without copies.
  const windows = graph.op('Shape', [k], { start: 0, end: 1 });
  const grouped = graph.op('Reshape', [q, graph.op('Concat', [windows, graph.ints(-1, config.width)], { axis: 0 })]);
  const attended = graph.op('ms.MultiHeadAttention', [grouped, k, v, '', '', 'cross_bias'], { num_heads: heads });
  const ungrouped = graph.op('Reshape', [attended, rowShape]);
  const residual = graph.op('Add', [x, linear(context, ungrouped, `${prefix}.encoder_attn.out_proj`)]);

  const aligned = alignmentHeadsOf(config, layer);
  if (aligned.length === 0) return { x: residual, alignment: null };
  const keys = graph.input(`align_k_${layer}`, 'float32', ['B', aligned.length, headDim, 'S']);
  const queries = graph.op('Gather', [splitHeads(graph, grouped, heads), graph.ints(...aligned)], { axis: 1 });
  const scaled = graph.op('Mul', [queries, graph.scalar(headDim ** -0.5)]);
  return { x: residual, alignment: graph.op('MatMul', [scaled, keys]) };
}

interface VocabularyMatrix {
  /** int64 [R, N] -> float [R, N, width] */
  embed(tokens: string): string;
  /** float [R, M, width] -> float [R, M, vocabulary] */
  project(x: string): string;
}

/** The embedding, which is also the output projection: stored once, read in both directions. */
function vocabularyMatrix({ graph, weights, form }: LayerContext, config: ModelConfig): VocabularyMatrix {
  const { width, vocabularySize: size } = config;
  const matrix = weights.read('decoder.embed_tokens.weight');
  if (form === 'float32') {
    const table = graph.float('decoder.embed_tokens.weight', matrix, [size, width]);
    return {
      embed: (tokens) => graph.op('Gather', [table, tokens]),
      project: (x) => {
        const shape = graph.op('Concat', [graph.op('Shape', [x], { start: 0, end: 2 }), graph.ints(size)], { axis: 0 });
        const rows = graph.op('Reshape', [x, graph.ints(-1, width)]);
        return graph.op('Reshape', [graph.op('Gemm', [rows, table], { transB: 1 }), shape]);
      },
    };
  }
  const { values, scales, blocks } = quantiseBlocks(matrix, size, width);
  const table = graph.constant('decoder.embed_tokens.blocks', 'uint8', [size, blocks, BLOCK_SIZE], values);
  const scaleTable = graph.float('decoder.embed_tokens.scales', scales, [size, blocks]);
  return {
    embed: (tokens) => {
      const integers = graph.op('Sub', [graph.op('Cast', [graph.op('Gather', [table, tokens])], { to: 1 }), graph.scalar(128)]);
      const scale = graph.op('Unsqueeze', [graph.op('Gather', [scaleTable, tokens]), graph.ints(-1)]);
      const padded = graph.op('Reshape', [graph.op('Mul', [integers, scale]), graph.ints(0, 0, -1)]);
      if (blocks * BLOCK_SIZE === width) return padded;
      return graph.op('Slice', [padded, graph.ints(0), graph.ints(width), graph.ints(2)]);
    },
    project: (x) => blockMatMul(graph, x, table, scaleTable, '', width, size),
  };
}

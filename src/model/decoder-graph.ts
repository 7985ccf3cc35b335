// One step of the decoder as an ONNX graph: tokens and caches in; the likeliest next tokens, alignment and longer caches out.

import type { ModelConfig } from './config.ts';
import { decoderLayers } from './decoder-layers.ts';
import { alignmentHeadsOf, type CrossAttentionInputs } from './encoder-graph.ts';
import { type LayerContext, layerContext, type Precision } from './graph-layers.ts';
import { writeGraph } from './onnx-graph.ts';
import { Vocabulary } from './vocabulary.ts';
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
 * - `logits` float [R, M, vocabulary] before the mask, in int8 less a number that all of a row share; `align` float [B, alignment heads, G · N, S]: scaled q · k;
 * - `present_k_L`, `present_v_L` [R, heads, P + N, headDim].
 */
export function writeDecoderGraph(path: string, weights: Weights, config: ModelConfig, precision: Precision): void {
  writeGraph('whisper-decoder', path, (graph) => buildDecoder(layerContext(graph, weights, config, precision), config));
}

function buildDecoder(context: LayerContext, config: ModelConfig): void {
  const { graph, headDim } = context;
  const vocabulary = new Vocabulary(context.weights, config);
  const tokens = graph.input('tokens', 'int64', ['R', 'N']);
  const positions = graph.input('positions', 'int64', ['R', 'N']);
  const selfBias = graph.input('self_bias', 'float32', ['R', 1, 'N', 'PN']);
  const crossBias = graph.input('cross_bias', 'float32', ['B', 1, 'GN', 'S']);
  const layers = Array.from({ length: config.decoderLayers }, (_, layer) => layer);
  const past = layers.map((layer) => {
    const [k, v] = ['k', 'v'].map((kind) => graph.input(`past_${kind}_${layer}`, 'float32', ['R', config.heads, 'P', headDim]));
    return { k: k as string, v: v as string };
  });
  const cross = layers.map((layer): CrossAttentionInputs => {
    const [k, v] = ['k', 'v'].map((kind) => graph.input(`cross_${kind}_${layer}`, 'float32', ['B', config.heads, 'S', headDim]));
    const aligned = alignmentHeadsOf(config, layer).length;
    const align = aligned === 0 ? null : graph.input(`align_k_${layer}`, 'float32', ['B', aligned, headDim, 'S']);
    return { k: k as string, v: v as string, align };
  });

  const embedded = vocabulary.embed(context, tokens, positions);
  const rowShape = graph.op('Shape', [embedded]);
  const windows = graph.op('Shape', [(cross[0] as CrossAttentionInputs).k], { start: 0, end: 1 });
  const groupShape = graph.op('Concat', [windows, graph.ints(-1, config.width)], { axis: 0 });
  const { x, alignment } = decoderLayers(context, config, {
    x: embedded,
    selfBias,
    crossBias,
    past,
    cross,
    presentName: (kind, layer) => `present_${kind}_${layer}`,
    grouping: { group: (q) => graph.op('Reshape', [q, groupShape]), ungroup: (y) => graph.op('Reshape', [y, rowShape]) },
  });
  for (const layer of layers) {
    for (const kind of ['k', 'v']) graph.output(`present_${kind}_${layer}`, 'float32', ['R', config.heads, 'PN', headDim]);
  }
  graph.op('Identity', [alignment], {}, 'align');
  graph.output('align', 'float32', ['B', config.alignmentHeads.length, 'GN', 'S']);

  const select = graph.op('Unsqueeze', [graph.input('select', 'int64', ['R', 'M']), graph.ints(-1)]);
  vocabulary.logits(context, graph.op('GatherND', [x, select], { batch_dims: 1 }), 'logits');
  graph.output('logits', 'float32', ['R', 'M', config.vocabularySize]);
  const masked = graph.op('Add', ['logits', graph.input('mask', 'float32', ['MR', 'MM', config.vocabularySize])]);
  const logProbabilities = graph.op('LogSoftmax', [masked], { axis: -1 });
  graph.ops('TopK', [logProbabilities, graph.input('k', 'int64', [1])], ['top_values', 'top_tokens'], { axis: -1, largest: 1, sorted: 1 });
  graph.output('top_values', 'float32', ['R', 'M', 'K']);
  graph.output('top_tokens', 'int64', ['R', 'M', 'K']);
}

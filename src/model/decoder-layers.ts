// The decoder's layers, written into whichever graph runs them: a step at a time, or a whole window in a loop.

import { attention, cachedAttention, type KeysAndValues } from './attention.ts';
import type { ModelConfig } from './config.ts';
import { alignmentHeadsOf, type CrossAttentionInputs } from './encoder-graph.ts';
import { activationScalar, blockLinear, feedForward, type LayerContext, layerNorm, linear, splitHeads } from './graph-layers.ts';

export interface DecoderLayersInput {
  /** [rows, N, width], embedded */
  readonly x: string;
  /** [rows or 1, 1, N, past + N], added to the scores of self-attention */
  readonly selfBias: string;
  /** [windows, 1, queries, S], added to the scores of cross-attention */
  readonly crossBias: string;
  /** A layer each; null where there is no token yet */
  readonly past: readonly KeysAndValues[] | null;
  readonly cross: readonly CrossAttentionInputs[];
  /** Gives the caches their names. @default new ones */
  readonly presentName?: (kind: 'k' | 'v', layer: number) => string;
  /**
   * Rows that read the same window become queries of one row: [rows, N, width] to [windows, queries, width], and back. They share the
   * window's keys and values without copies. @default a row is a window
   */
  readonly grouping?: { readonly group: (x: string) => string; readonly ungroup: (x: string) => string };
}

export interface DecoderLayersOutput {
  /** [rows, N, width], before the last norm */
  readonly x: string;
  readonly present: readonly KeysAndValues[];
  /** Scaled q · k of the alignment heads, [windows, alignment heads, queries, S] */
  readonly alignment: string;
}

export function decoderLayers(context: LayerContext, config: ModelConfig, input: DecoderLayersInput): DecoderLayersOutput {
  const { graph } = context;
  let { x } = input;
  const present: KeysAndValues[] = [];
  const alignments: string[] = [];
  for (let layer = 0; layer < config.decoderLayers; layer++) {
    const self = selfAttention(context, x, layer, input);
    const cross = crossAttention(context, self.x, layer, config, input);
    // A few of its hidden values outweigh the rest by far.
    x = feedForward(context, cross.x, `decoder.layers.${layer}`, blockLinear);
    present.push(self.present);
    if (cross.alignment) alignments.push(cross.alignment);
  }
  return { x, present, alignment: graph.op('Concat', alignments, { axis: 1 }) };
}

function selfAttention(
  context: LayerContext,
  x: string,
  layer: number,
  { past, presentName, selfBias }: DecoderLayersInput,
): { x: string; present: KeysAndValues } {
  const { graph } = context;
  const prefix = `decoder.layers.${layer}`;
  const normed = layerNorm(context, x, `${prefix}.self_attn_layer_norm`);
  const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((name) => linear(context, normed, `${prefix}.self_attn.${name}`)) as [
    string,
    string,
    string,
  ];
  const nameOf = presentName ?? ((kind) => graph.unique(`present_${kind}_${layer}`));
  const names = { k: nameOf('k', layer), v: nameOf('v', layer) };
  const attended = cachedAttention(context, { q, bias: selfBias }, { k, v }, past?.[layer] ?? null, names);
  return { x: graph.op('Add', [x, linear(context, attended.x, `${prefix}.self_attn.out_proj`)]), present: attended.present };
}

function crossAttention(
  context: LayerContext,
  x: string,
  layer: number,
  config: ModelConfig,
  { cross, crossBias, grouping }: DecoderLayersInput,
): { x: string; alignment: string | null } {
  const { graph, heads } = context;
  const prefix = `decoder.layers.${layer}`;
  const { k, v, align } = cross[layer] as CrossAttentionInputs;
  const normed = layerNorm(context, x, `${prefix}.encoder_attn_layer_norm`);
  const q = linear(context, normed, `${prefix}.encoder_attn.q_proj`);
  const queries = grouping ? grouping.group(q) : q;
  const attended = attention(context, { q: queries, bias: crossBias }, { k, v });
  const rows = grouping ? grouping.ungroup(attended) : attended;
  const residual = graph.op('Add', [x, linear(context, rows, `${prefix}.encoder_attn.out_proj`)]);
  if (align === null) return { x: residual, alignment: null };
  const ofHeads = graph.op('Gather', [splitHeads(graph, queries, heads), graph.indexList(...alignmentHeadsOf(config, layer))], { axis: 1 });
  const scaled = graph.op('Mul', [ofHeads, activationScalar(context, context.headDim ** -0.5)]);
  return { x: residual, alignment: graph.op('MatMul', [scaled, align]) };
}

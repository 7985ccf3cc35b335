// Attention in two forms: onnxruntime's fused kernel, or put together from plain ones where that kernel cannot be relied on.

import { activationScalar, type LayerContext, splitHeads } from './graph-layers.ts';

/**
 * Keys and values split into heads, as the form of the graph wants them: values [batch, heads, length, headDim], keys the same (fused), or
 * transposed to [batch, heads, headDim, length] (composed), so that no step has to do it.
 */
export interface KeysAndValues {
  readonly k: string;
  readonly v: string;
}

export interface AttentionInput {
  /** [batch, queries, width] */
  readonly q: string;
  /** Added to the scores, [batch or 1, 1, queries, length]; empty: nothing */
  readonly bias: string;
}

/** Projections [batch, length, width] as keys and values. `names` gives them their own. */
export function keysAndValues(context: LayerContext, k: string, v: string, names?: KeysAndValues): KeysAndValues {
  const { graph, heads } = context;
  if (context.attention !== 'composed') return { k: splitHeads(graph, k, heads, names?.k), v: splitHeads(graph, v, heads, names?.v) };
  const split = graph.op('Reshape', [k, graph.ints(0, 0, heads, -1)]);
  return { k: graph.op('Transpose', [split], { perm: [0, 2, 3, 1] }, names?.k), v: splitHeads(graph, v, heads, names?.v) };
}

/** @returns [batch, queries, width] */
export function attention(context: LayerContext, { q, bias }: AttentionInput, { k, v }: KeysAndValues): string {
  const { graph, heads } = context;
  if (context.attention !== 'composed')
    return graph.op('ms.MultiHeadAttention', bias === '' ? [q, k, v] : [q, k, v, '', '', bias], { num_heads: heads });
  const queries = splitHeads(graph, graph.op('Mul', [q, activationScalar(context, context.headDim ** -0.5)]), heads);
  const scores = graph.op('MatMul', [queries, k]);
  const weights = graph.op('Softmax', [bias === '' ? scores : graph.op('Add', [scores, bias])], { axis: -1 });
  const attended = graph.op('Transpose', [graph.op('MatMul', [weights, v])], { perm: [0, 2, 1, 3] });
  return graph.op('Reshape', [attended, graph.ints(0, 0, -1)]);
}

/** Self-attention without a cache; k and v are projections [batch, length, width]. */
export function selfAttention(context: LayerContext, input: AttentionInput, k: string, v: string): string {
  return attention(context, input, context.attention === 'composed' ? keysAndValues(context, k, v) : { k, v });
}

/** One more dimension of every head, [1, length, heads, 1], in which query times key is the key's bias. */
export interface BiasDimension {
  readonly q: string;
  readonly k: string;
}

/** @param bias [length], added to the scores of the keys */
export function biasDimension({ graph, heads, headDim }: LayerContext, bias: string): BiasDimension {
  const shape = graph.op('Concat', [graph.ints(1), graph.op('Shape', [bias]), graph.ints(heads, 1)], { axis: 0 });
  return {
    // Scores are divided by it.
    q: graph.op('Expand', [graph.scalar(Math.sqrt(headDim)), shape]),
    k: graph.op('Expand', [graph.op('Reshape', [bias, graph.ints(1, -1, 1, 1)]), shape]),
  };
}

/**
 * Self-attention with a bias of its keys, fused. Given as a bias, onnxruntime would take a kernel that holds all scores at once: 70 MB for
 * 30 s of audio, and more time.
 */
export function keyBiasedSelfAttention(context: LayerContext, q: string, k: string, v: string, extra: BiasDimension): string {
  const { graph, heads, headDim } = context;
  const extended = (x: string, dimension: string): string => {
    const split = graph.op('Reshape', [x, graph.ints(0, 0, heads, -1)]);
    return graph.op('Reshape', [graph.op('Concat', [split, dimension], { axis: 3 }), graph.ints(0, 0, -1)]);
  };
  const inputs = [extended(q, extra.q), extended(k, extra.k), v];
  return graph.op('ms.MultiHeadAttention', inputs, { num_heads: heads, scale: headDim ** -0.5 });
}

/**
 * Self-attention that goes on from a cache.
 * @param past null where there is no token yet
 * @param names of the longer cache
 */
export function cachedAttention(
  context: LayerContext,
  { q, bias }: AttentionInput,
  { k, v }: { readonly k: string; readonly v: string },
  past: KeysAndValues | null,
  names: KeysAndValues,
): { x: string; present: KeysAndValues } {
  const { graph, heads } = context;
  if (context.attention !== 'composed') {
    const inputs = [q, k, v, '', '', bias, ...(past ? [past.k, past.v] : [])];
    const [x] = graph.ops('ms.MultiHeadAttention', inputs, [graph.unique('attended'), names.k, names.v], { num_heads: heads });
    return { x: x as string, present: names };
  }
  if (past === null) {
    const present = keysAndValues(context, k, v, names);
    return { x: attention(context, { q, bias }, present), present };
  }
  const added = keysAndValues(context, k, v);
  const present = {
    k: graph.op('Concat', [past.k, added.k], { axis: 3 }, names.k),
    v: graph.op('Concat', [past.v, added.v], { axis: 2 }, names.v),
  };
  return { x: attention(context, { q, bias }, present), present };
}

/** The dimensions of cached keys and values, `batch` and `length` named or given. */
export function cacheShape({ attention: form, headDim, heads }: LayerContext, kind: 'k' | 'v', length: string): (number | string)[] {
  return form === 'composed' && kind === 'k' ? ['B', heads, headDim, length] : ['B', heads, length, headDim];
}

/** The keys of some heads, transposed: [batch, heads, headDim, length]. */
export function transposedKeys({ attention: form, graph }: LayerContext, k: string, heads: readonly number[], name: string): string {
  if (form === 'composed') return graph.op('Gather', [k, graph.indexList(...heads)], { axis: 1 }, name);
  return graph.op('Transpose', [graph.op('Gather', [k, graph.indexList(...heads)], { axis: 1 })], { perm: [0, 1, 3, 2] }, name);
}

// The decoder's two ends: the table of the vocabulary embeds tokens, and read the other way round it gives their logits.

import type { ModelConfig } from './config.ts';
import {
  activationType,
  type ColumnTable,
  columnTable,
  type LayerContext,
  layerNorm,
  normalised,
  rowScaledMatMul,
  tensor,
} from './graph-layers.ts';
import { smoothingFactors } from './quantise.ts';
import type { Weights } from './weights.ts';

const TOKENS = 'decoder.embed_tokens';
const NORM = 'decoder.layer_norm';

/** One for all graphs and bodies that are made of the same weights. */
export class Vocabulary {
  readonly #weights: Weights;
  readonly #config: ModelConfig;
  #channels: Balance | undefined;

  constructor(weights: Weights, config: ModelConfig) {
    this.#weights = weights;
    this.#config = config;
  }

  /** The embedding of tokens at positions, [rows, N, width]. */
  embed(context: LayerContext, tokens: string, positions: string): string {
    const { graph } = context;
    const places = tensor(context, 'decoder.embed_positions.weight');
    return graph.op('Add', [this.#embedTokens(context, tokens), graph.op('Gather', [places, positions])]);
  }

  /**
   * Logits of [rows, M, width] before the last norm, float32 [rows, M, vocabulary]; in int8 less a number that all tokens of a row share.
   * @param output their name @default a new one
   */
  logits(context: LayerContext, x: string, output?: string): string {
    const { graph, precision } = context;
    const { vocabularySize, width } = this.#config;
    if (precision === 'int8') {
      const part = (name: string): string =>
        graph.constant(`${NORM}.balanced_${name}`, 'float32', [width], () => {
          const { factors } = this.#balance();
          return this.#weights.read(`${NORM}.${name}`).map((value, c) => value / (factors[c] as number));
        });
      return rowScaledMatMul(graph, normalised(graph, x, part('weight'), part('bias')), this.#columns(context), { output });
    }
    const normed = layerNorm(context, x, NORM);
    const shape = graph.op('Concat', [graph.op('Shape', [normed], { start: 0, end: 2 }), graph.ints(vocabularySize)], { axis: 0 });
    const rows = graph.op('Reshape', [normed, graph.ints(-1, width)]);
    const flat = graph.op('Gemm', [rows, tensor(context, `${TOKENS}.weight`)], { transB: 1 });
    if (activationType(context) === 'float32') return graph.op('Reshape', [flat, shape], {}, output);
    return graph.cast(graph.op('Reshape', [flat, shape]), 'float32', output);
  }

  #embedTokens(context: LayerContext, tokens: string): string {
    const { graph, precision } = context;
    if (precision !== 'int8') return graph.op('Gather', [tensor(context, `${TOKENS}.weight`), tokens]);
    const { values, scales } = this.#columns(context);
    const channels = (name: keyof Balance): string =>
      graph.constant(`${TOKENS}.${name}`, 'float32', [this.#config.width], () => this.#balance()[name]);
    const columns = graph.cast(graph.op('Gather', [values, tokens], { axis: 1 }), 'float32');
    const scale = graph.op('Unsqueeze', [graph.op('Gather', [scales, tokens]), graph.ints(-1)]);
    const balanced = graph.op('Mul', [graph.op('Transpose', [columns], { perm: [1, 2, 0] }), scale]);
    return graph.op('Add', [graph.op('Div', [balanced, channels('factors')]), channels('mean')]);
  }

  #columns(context: LayerContext): ColumnTable {
    return columnTable(context, TOKENS, () => {
      const { factors, mean } = this.#balance();
      const table = this.#weights.read(`${TOKENS}.weight`);
      return eachChannel(table, factors.length, (value, c) => (value - (mean[c] as number)) * (factors[c] as number));
    });
  }

  #balance(): Balance {
    this.#channels ??= balance(this.#weights.read(`${TOKENS}.weight`), {
      gains: this.#weights.read(`${NORM}.weight`),
      biases: this.#weights.read(`${NORM}.bias`),
    });
    return this.#channels;
  }
}

/**
 * What makes the table fit for int8, a number a channel. On `base` the mean embedding is 87 % of the table's energy, and its product with a row is
 * the same for all tokens, so that no probability depends on it. Of the last norm's gains some are forty times others.
 */
interface Balance {
  /** Taken out of each embedding. */
  readonly mean: Float32Array;
  /** The last norm is divided by them, the table multiplied. */
  readonly factors: Float32Array;
}

/** @param table [vocabulary, channels], changed */
function balance(table: Float32Array, norm: { readonly gains: Float32Array; readonly biases: Float32Array }): Balance {
  const channels = norm.gains.length;
  const sums = new Float64Array(channels);
  for (let i = 0; i < table.length; i++) sums[i % channels] = (sums[i % channels] as number) + (table[i] as number);
  const mean = Float32Array.from(sums, (sum) => (sum * channels) / table.length);
  return {
    mean,
    factors: smoothingFactors(
      eachChannel(table, channels, (value, c) => value - (mean[c] as number)),
      norm,
    ),
  };
}

/** Changes [rows, channels] in place: the table of a large model takes 265 MB. */
function eachChannel(table: Float32Array, channels: number, change: (value: number, channel: number) => number): Float32Array {
  for (let i = 0; i < table.length; i++) table[i] = change(table[i] as number, i % channels);
  return table;
}

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
  #balanced: Balance | undefined;

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

  /** Logits of [rows, M, width] before the last norm, float32 [rows, M, vocabulary]; in int8 less a number that all tokens of a row share. */
  logits(context: LayerContext, x: string): string {
    const { graph, precision } = context;
    const { vocabularySize, width } = this.#config;
    if (precision === 'int8') {
      const [gains, biases] = ['weight', 'bias'].map((part) =>
        graph.constant(`${NORM}.balanced_${part}`, 'float32', [width], () => {
          const { factors } = this.#balance();
          return this.#weights.read(`${NORM}.${part}`).map((value, c) => value / (factors[c] as number));
        }),
      ) as [string, string];
      return rowScaledMatMul(graph, normalised(graph, x, gains, biases), this.#columns(context), '');
    }
    const normed = layerNorm(context, x, NORM);
    const shape = graph.op('Concat', [graph.op('Shape', [normed], { start: 0, end: 2 }), graph.ints(vocabularySize)], { axis: 0 });
    const rows = graph.op('Reshape', [normed, graph.ints(-1, width)]);
    const values = graph.op('Reshape', [graph.op('Gemm', [rows, tensor(context, `${TOKENS}.weight`)], { transB: 1 }), shape]);
    return activationType(context) === 'float32' ? values : graph.cast(values, 'float32');
  }

  #embedTokens(context: LayerContext, tokens: string): string {
    const { graph, precision } = context;
    if (precision !== 'int8') return graph.op('Gather', [tensor(context, `${TOKENS}.weight`), tokens]);
    const { values, scales } = this.#columns(context);
    const channels = (name: string, read: () => Float32Array): string =>
      graph.constant(`${TOKENS}.${name}`, 'float32', [this.#config.width], read);
    const columns = graph.cast(graph.op('Gather', [values, tokens], { axis: 1 }), 'float32');
    const scale = graph.op('Unsqueeze', [graph.op('Gather', [scales, tokens]), graph.ints(-1)]);
    const balanced = graph.op('Mul', [graph.op('Transpose', [columns], { perm: [1, 2, 0] }), scale]);
    const own = graph.op('Div', [balanced, channels('factors', () => this.#balance().factors)]);
    return graph.op('Add', [own, channels('mean', () => this.#balance().mean)]);
  }

  #columns(context: LayerContext): ColumnTable {
    return columnTable(context, TOKENS, () => {
      const { factors, mean } = this.#balance();
      return this.#table().map((value, i) => (value - (mean[i % mean.length] as number)) * (factors[i % mean.length] as number));
    });
  }

  #table(): Float32Array {
    return this.#weights.read(`${TOKENS}.weight`);
  }

  #balance(): Balance {
    if (!this.#balanced) {
      const table = this.#table();
      const mean = channelMeans(table, this.#config.width);
      const own = table.map((value, i) => value - (mean[i % mean.length] as number));
      const norm = { gains: this.#weights.read(`${NORM}.weight`), biases: this.#weights.read(`${NORM}.bias`) };
      this.#balanced = { mean, factors: smoothingFactors(own, norm) };
    }
    return this.#balanced;
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

function channelMeans(table: Float32Array, channels: number): Float32Array {
  const sums = new Float64Array(channels);
  for (let i = 0; i < table.length; i++) sums[i % channels] = (sums[i % channels] as number) + (table[i] as number);
  return Float32Array.from(sums, (sum) => (sum * channels) / table.length);
}

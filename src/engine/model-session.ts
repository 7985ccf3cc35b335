// The two onnxruntime sessions of a model, behind calls that speak of windows, tokens and candidates.

import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { GraphFiles } from '../model/build-graphs.ts';
import type { ModelConfig } from '../model/config.ts';
import { MASKED_SCORE } from '../model/graph-layers.ts';
import { type CacheShape, CrossCache, type EncodedWindows, type SelfCache } from './caches.ts';
import { allPositions, SAMPLES_PER_POSITION, type WindowPositions } from './positions.ts';

export interface StepInput {
  /** [rows, count] row-major. */
  readonly tokens: BigInt64Array;
  readonly positions: BigInt64Array;
  readonly count: number;
  /** [rows, 1, count, past + count]: 0 or MASKED, added to the scores. */
  readonly selfBias: Float32Array;
  /** Which of the `count` positions to predict from, [rows, selected]. */
  readonly select: BigInt64Array;
  readonly selected: number;
  /** [1, vocabulary] for all predictions or [selected, vocabulary], added to the logits of every row. */
  readonly mask: Float32Array;
  /** Number of candidates. */
  readonly candidates: number;
  /** Also return the logits before the mask. */
  readonly withLogits: boolean;
}

export interface StepOutput {
  /** [rows, selected, candidates] log-probabilities, descending. */
  readonly values: Float32Array;
  /** [rows, selected, candidates] */
  readonly tokens: BigInt64Array;
  /** [windows, alignment heads, rows / windows * count, positions] */
  readonly alignment: Float32Array;
  /** [rows, selected, vocabulary], until the next step; empty unless asked for. */
  readonly logits: Float32Array;
}

/** Added to a score or a logit. */
export const MASKED = MASKED_SCORE.float32;

/** @param threads for one operation, at least 1 */
export const sessionOptions = (threads: number): InferenceSession.SessionOptions => ({
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  graphOptimizationLevel: 'all',
  // Plans are kept per shape, and every window has its own; so does onnxruntime's arena grow with them, and never shrinks.
  enableMemPattern: false,
  enableCpuMemArena: false,
  logSeverityLevel: 3,
  extra: {
    session: {
      // Threads that wait by spinning cost the other streams their processor.
      intra_op: { allow_spinning: '0' },
      set_denormal_as_zero: '1',
    },
  },
});

export class ModelSession {
  readonly config: ModelConfig;
  readonly shape: CacheShape;
  readonly #encoder: InferenceSession;
  readonly #decoder: InferenceSession;
  readonly #alignmentHeads: number;
  /** Where the encoder writes a window that is shorter than its batch. */
  readonly #single: CrossCache;
  #logits = new Float32Array(0);

  private constructor(config: ModelConfig, encoder: InferenceSession, decoder: InferenceSession) {
    this.config = config;
    this.#encoder = encoder;
    this.#decoder = decoder;
    this.#alignmentHeads = config.alignmentHeads.length;
    this.shape = {
      layers: config.decoderLayers,
      heads: config.heads,
      headDim: config.width / config.heads,
      alignmentHeads: Array.from({ length: config.decoderLayers }, (_, l) => config.alignmentHeads.filter(([layer]) => layer === l).length),
    };
    this.#single = new CrossCache(this.shape);
  }

  /** @param threads for one operation, at least 1 */
  static async load(files: GraphFiles, config: ModelConfig, threads: number): Promise<ModelSession> {
    const options = sessionOptions(threads);
    const encoder = await InferenceSession.create(files.encoder, options);
    const decoder = await InferenceSession.create(files.decoder, options);
    return new ModelSession(config, encoder, decoder);
  }

  /**
   * Encodes one window into window `w` of `cache`.
   * @param pcm 16 kHz samples with the silent margin, a multiple of SAMPLES_PER_POSITION
   * @param chosen which positions go through the layers, at most as many as the cache has @default all
   */
  async encode(
    pcm: Float32Array,
    cache: CrossCache,
    w: number,
    chosen: WindowPositions = allPositions(pcm.length / SAMPLES_PER_POSITION),
  ): Promise<void> {
    const { indices, keyBias } = chosen;
    const count = indices.length;
    const feeds = {
      pcm: new Tensor('float32', pcm, [1, pcm.length]),
      positions: new Tensor('int64', BigInt64Array.from(indices, BigInt), [count]),
      key_bias: new Tensor('float32', keyBias, [count]),
    };
    if (count === cache.positions) {
      await this.#encoder.run(feeds, cache.window(w));
    } else {
      this.#single.reset(1, count);
      this.#single.chosen[0] = chosen;
      await this.#encoder.run(feeds, this.#single.window(0));
      cache.copyFrom(w, this.#single);
    }
    cache.chosen[w] = chosen;
  }

  /** One pass of the decoder over all rows; the self cache grows by `count`. */
  async step(input: StepInput, cross: EncodedWindows, self: SelfCache): Promise<StepOutput> {
    const { rows } = self;
    const { count, selected, candidates } = input;
    const group = rows / cross.windows;
    const vocabulary = this.config.vocabularySize;
    const output: StepOutput = {
      values: new Float32Array(rows * selected * candidates),
      tokens: new BigInt64Array(rows * selected * candidates),
      alignment: new Float32Array(cross.windows * this.#alignmentHeads * group * count * cross.positions),
      logits: this.#logitsRoom(input.withLogits ? rows * selected * vocabulary : 0),
    };
    const feeds = {
      tokens: new Tensor('int64', input.tokens, [rows, count]),
      positions: new Tensor('int64', input.positions, [rows, count]),
      self_bias: new Tensor('float32', input.selfBias, [rows, 1, count, self.length + count]),
      cross_bias: new Tensor('float32', crossBias(cross, group * count), [cross.windows, 1, group * count, cross.positions]),
      select: new Tensor('int64', input.select, [rows, selected]),
      mask: new Tensor('float32', input.mask, [1, input.mask.length / vocabulary, vocabulary]),
      k: new Tensor('int64', BigInt64Array.of(BigInt(candidates)), [1]),
      ...self.feeds(),
      ...cross.feeds(),
    };
    await this.#decoder.run(feeds, {
      top_values: new Tensor('float32', output.values, [rows, selected, candidates]),
      top_tokens: new Tensor('int64', output.tokens, [rows, selected, candidates]),
      align: new Tensor('float32', output.alignment, [cross.windows, this.#alignmentHeads, group * count, cross.positions]),
      ...(input.withLogits ? { logits: new Tensor('float32', output.logits, [rows, selected, vocabulary]) } : {}),
      ...self.fetches(count),
    });
    self.advance(count);
    return output;
  }

  /** Megabytes that most steps do not need, and those that do need again. */
  #logitsRoom(elements: number): Float32Array {
    if (this.#logits.length < elements) this.#logits = new Float32Array(elements);
    return this.#logits.subarray(0, elements);
  }

  async close(): Promise<void> {
    await this.#encoder.release();
    await this.#decoder.release();
  }
}

/** [windows, 1, queries, positions]: each window's own, and the padding of shorter ones is not looked at. */
function crossBias(cross: EncodedWindows, queries: number): Float32Array {
  const bias = new Float32Array(cross.windows * queries * cross.positions);
  cross.chosen.forEach(({ keyBias }, w) => {
    for (let q = 0; q < queries; q++) {
      const row = (w * queries + q) * cross.positions;
      bias.set(keyBias, row);
      bias.fill(MASKED, row + keyBias.length, row + cross.positions);
    }
  });
  return bias;
}

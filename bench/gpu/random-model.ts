// Writes a model folder of a published size with random weights, whose texts have a length that is known before: they end at a position.

import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelConfig } from '../../src/model/config.ts';
import { toHalves } from '../../src/model/tensor-values.ts';
import { weightShapes } from '../../test/toy-model.ts';
import { createRandom } from '../autoscaling/random.ts';
import { randomTokenizer, TEXT_TOKENS } from './random-tokenizer.ts';
import { elementsOf } from './shapes.ts';

const BYTES_PER_HALF = 2;
/** Numbers that are drawn; all tensors are cut from them, each from a place of its own. A prime: rows of no width repeat. */
const DRAWN = 1_048_573;
const SEED = 20_240_611;
const END_OF_TEXT = TEXT_TOKENS;
/** How much louder than everything else a position says that the text is over. */
const LOUDNESS = 4;
const TOKEN_SCALE = 0.05;

/**
 * Values that stay finite in float16 and of the order of 1 through any number of layers: each layer's inputs are scaled to unit
 * variance, and what it adds to the residual stream is small. The decoder's positions from `endPosition` on say `<|endoftext|>`, so that
 * a text ends when so many tokens, forced and decoded, are in the decoder, and not when chance says so.
 */
export function writeRandomModel(dir: string, config: ModelConfig, endPosition: number): void {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ encoder_attention_heads: config.heads }));
  writeFileSync(join(dir, 'generation_config.json'), JSON.stringify({ alignment_heads: config.alignmentHeads }));
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(randomTokenizer(config.vocabularySize)));
  writeWeights(join(dir, 'model.safetensors'), config, endPosition);
}

/** float16 safetensors, written from a few megabytes of numbers: gigabytes take no longer than a disk does. */
function writeWeights(path: string, config: ModelConfig, endPosition: number): void {
  const shapes = [...weightShapes(config)];
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const [name, shape] of shapes) {
    const start = end;
    end += elementsOf(shape) * BYTES_PER_HALF;
    header[`model.${name}`] = { dtype: 'F16', shape, data_offsets: [start, end] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const numbers = new Numbers();
  const file = openSync(path, 'w');
  try {
    writeSync(file, Buffer.concat([length, text]));
    for (const [name, shape] of shapes) {
      const special = specialTensor(name, config, endPosition, numbers);
      if (special !== null) write(file, toHalves(special));
      else for (const piece of numbers.pieces(elementsOf(shape), scaleOf(name, shape, config))) write(file, piece);
    }
  } finally {
    closeSync(file);
  }
}

function write(file: number, values: Uint16Array): void {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done);
}

/** Standard deviation of a tensor's values. */
function scaleOf(name: string, shape: readonly number[], { decoderLayers, encoderLayers }: ModelConfig): number {
  if (name.endsWith('.bias')) return 0.02;
  if (name === 'decoder.embed_tokens.weight') return TOKEN_SCALE;
  if (name === 'encoder.embed_positions.weight') return 0.1;
  const unit = 1 / Math.sqrt(elementsOf(shape.slice(1)));
  const layers = name.startsWith('encoder.') ? encoderLayers : decoderLayers;
  // All additions to the residual stream together come to a variance of 1 at most.
  return /\.(out_proj|fc2)\.weight$/.test(name) ? unit / Math.sqrt(3 * layers) : unit;
}

/** The tensors that are not just random; null for the others. */
function specialTensor(name: string, { maxTextPositions, vocabularySize, width }: ModelConfig, endPosition: number, numbers: Numbers) {
  if (name.endsWith('layer_norm.weight')) return new Float32Array(elementsOf([width])).fill(1);
  // As many of one sign as of the other: a norm takes their mean away.
  const sign = (column: number): number => (column % 2 === 0 ? 1 : -1);
  if (name === 'decoder.embed_tokens.weight') {
    const values = numbers.floats(vocabularySize * width, TOKEN_SCALE);
    for (let column = 0; column < width; column++) values[END_OF_TEXT * width + column] = TOKEN_SCALE * sign(column);
    return values;
  }
  if (name !== 'decoder.embed_positions.weight') return null;
  // Louder than the tokens, or a text would repeat its first one for ever.
  const values = numbers.floats(maxTextPositions * width, 0.5);
  for (let i = endPosition * width; i < values.length; i++) values[i] = LOUDNESS * sign(i % width);
  return values;
}

/** Uniformly distributed numbers of any scale, in any quantity, the same in every run. */
class Numbers {
  readonly #unit: Float32Array;
  readonly #scaled = new Map<number, Uint16Array>();
  #at = 0;

  constructor() {
    const random = createRandom(SEED);
    const side = Math.sqrt(3);
    this.#unit = Float32Array.from({ length: DRAWN }, () => random.between(-side, side));
  }

  floats(count: number, scale: number): Float32Array {
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = scale * (this.#unit[(this.#at + i) % DRAWN] as number);
    this.#at = (this.#at + count) % DRAWN;
    return values;
  }

  /** float16, in pieces that are not to be kept. */
  *pieces(count: number, scale: number): Generator<Uint16Array> {
    let halves = this.#scaled.get(scale);
    if (halves === undefined) {
      halves = toHalves(this.#unit.map((value) => scale * value));
      this.#scaled.set(scale, halves);
    }
    for (let left = count; left > 0; ) {
      const taken = Math.min(left, DRAWN - this.#at);
      yield halves.subarray(this.#at, this.#at + taken);
      this.#at = (this.#at + taken) % DRAWN;
      left -= taken;
    }
  }
}

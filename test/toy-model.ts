// Models without speech in them for tests: configurations of every published size, weights behind the reader's interface, small folders.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelConfig } from '../src/model/config.ts';
import type { Weights } from '../src/model/weights-types.ts';
import { safetensorsFile, type TensorData } from './weight-files.ts';

export const HEAD_WIDTH = 64;

/** Alignment heads in the last layer only, unless said otherwise: its first and its last head. */
export function toyConfig(sizes: Partial<ModelConfig> & Pick<ModelConfig, 'width'>): ModelConfig {
  const heads = sizes.width / HEAD_WIDTH;
  const decoderLayers = sizes.decoderLayers ?? 2;
  return {
    name: 'toy',
    melBins: 80,
    encoderLayers: 2,
    decoderLayers,
    heads,
    vocabularySize: 300,
    maxAudioPositions: 1500,
    maxTextPositions: 448,
    alignmentHeads: [
      [decoderLayers - 1, 0],
      [decoderLayers - 1, heads - 1],
    ],
    suppressTokens: [],
    beginSuppressTokens: [],
    multilingual: false,
    ...sizes,
  };
}

/** Every tensor that a checkpoint of this configuration holds, by name. */
export function weightShapes(config: ModelConfig): Map<string, readonly number[]> {
  const { width, melBins, vocabularySize, maxAudioPositions, maxTextPositions } = config;
  const shapes = new Map<string, readonly number[]>();
  const affine = (name: string, ...weight: number[]): void => {
    shapes.set(`${name}.weight`, weight);
    shapes.set(`${name}.bias`, weight.length === 1 ? weight : [weight[0] as number]);
  };
  const attention = (name: string): void => {
    affine(`${name}_layer_norm`, width);
    for (const part of ['q_proj', 'v_proj', 'out_proj']) affine(`${name}.${part}`, width, width);
    shapes.set(`${name}.k_proj.weight`, [width, width]);
  };
  const feedForward = (name: string): void => {
    affine(`${name}.final_layer_norm`, width);
    affine(`${name}.fc1`, 4 * width, width);
    affine(`${name}.fc2`, width, 4 * width);
  };
  affine('encoder.conv1', width, melBins, 3);
  affine('encoder.conv2', width, width, 3);
  shapes.set('encoder.embed_positions.weight', [maxAudioPositions, width]);
  for (let layer = 0; layer < config.encoderLayers; layer++) {
    attention(`encoder.layers.${layer}.self_attn`);
    feedForward(`encoder.layers.${layer}`);
  }
  affine('encoder.layer_norm', width);
  shapes.set('decoder.embed_tokens.weight', [vocabularySize, width]);
  shapes.set('decoder.embed_positions.weight', [maxTextPositions, width]);
  for (let layer = 0; layer < config.decoderLayers; layer++) {
    attention(`decoder.layers.${layer}.self_attn`);
    attention(`decoder.layers.${layer}.encoder_attn`);
    feedForward(`decoder.layers.${layer}`);
  }
  affine('decoder.layer_norm', width);
  return shapes;
}

const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Numbers in [-1, 1) that depend on the name only. */
function noise(name: string, length: number): Float32Array {
  let state = 1;
  for (const character of name) state = (Math.imul(state, 31) + character.charCodeAt(0)) | 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state / 2 ** 31;
  });
}

function randomTensor(name: string, shape: readonly number[]): Float32Array {
  const values = noise(name, elements(shape));
  const isNorm = name.includes('layer_norm.weight');
  const inputs = elements(shape.slice(1));
  // Variance 1 a layer in and out; the embedding is louder, so that tokens differ clearly and are not ties of rounding.
  const scale = name.includes('embed_tokens') ? 0.5 : shape.length === 1 ? 0.1 : Math.sqrt(3 / inputs);
  for (let i = 0; i < values.length; i++) values[i] = (isNorm ? 1 : 0) + scale * (values[i] as number);
  return values;
}

/** Weights of a configuration; `reads` counts how often each tensor was read. Zeros cost no memory that nobody touches. */
export function fakeWeights(config: ModelConfig, fill: 'zeros' | 'random'): Weights & { readonly reads: Map<string, number> } {
  const shapes = weightShapes(config);
  const reads = new Map<string, number>();
  const shape = (name: string): readonly number[] => {
    const found = shapes.get(name);
    if (found === undefined) throw new Error(`no tensor ${name}`);
    return found;
  };
  return {
    reads,
    names: [...shapes.keys()].sort(),
    heads: config.heads,
    has: (name) => shapes.has(name),
    shape,
    read(name) {
      reads.set(name, (reads.get(name) ?? 0) + 1);
      return fill === 'zeros' ? new Float32Array(elements(shape(name))) : randomTensor(name, shape(name));
    },
    close() {},
  };
}

export interface ToyModelOptions {
  /** A tensor to leave out. */
  readonly without?: string;
  /** Changes a tensor's values. */
  readonly change?: (name: string, values: Float32Array) => void;
}

/** Writes a model folder as Hugging Face has them. */
export function writeToyModel(dir: string, config: ModelConfig, { change, without }: ToyModelOptions = {}): void {
  const weights = fakeWeights(config, 'random');
  const tensors: Record<string, TensorData> = {};
  for (const name of weights.names) {
    if (name === without) continue;
    const values = weights.read(name);
    change?.(name, values);
    tensors[`model.${name}`] = { shape: weights.shape(name), type: 'F32', bytes: new Uint8Array(values.buffer) };
  }
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'model.safetensors'), safetensorsFile(tensors));
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ encoder_attention_heads: config.heads }));
  const generation = { alignment_heads: config.alignmentHeads, begin_suppress_tokens: config.beginSuppressTokens };
  writeFileSync(join(dir, 'generation_config.json'), JSON.stringify(generation));
}

// What a model folder says of its model: sizes, alignment heads, suppressed tokens; from Hugging Face or CTranslate2 configuration.

import { existsSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { WhisperError } from '../core/errors.ts';
import { openWeights } from './weights.ts';
import type { Weights } from './weights-types.ts';

export interface ModelConfig {
  /** The folder's name, without a leading `whisper-` or `faster-whisper-`. */
  readonly name: string;
  /** 80, or 128 from large-v3 on. */
  readonly melBins: number;
  readonly encoderLayers: number;
  readonly decoderLayers: number;
  /** Attention heads of every layer. */
  readonly heads: number;
  /** Model width, a multiple of `heads`. */
  readonly width: number;
  readonly vocabularySize: number;
  /** Encoder frames of 20 ms; 1500. */
  readonly maxAudioPositions: number;
  /** Decoder positions; 448. */
  readonly maxTextPositions: number;
  /** `[layer, head]` of the cross-attention heads that follow the audio. Never empty. */
  readonly alignmentHeads: readonly (readonly [layer: number, head: number])[];
  /** Token ids that are never decoded. */
  readonly suppressTokens: readonly number[];
  /** Token ids that cannot be the first decoded. */
  readonly beginSuppressTokens: readonly number[];
  readonly multilingual: boolean;
}

/** Smallest vocabulary of a multilingual model (whisper/model.py `is_multilingual`). */
const MULTILINGUAL_VOCABULARY = 51_865;
/** Head width of every Whisper model, where the files do not say the number of heads. */
const HEAD_WIDTH = 64;

/** Rejects with `model_not_found` (no config.json, no weights) or `model_corrupt` (sizes that do not fit together). */
export async function readModelConfig(dir: string): Promise<ModelConfig> {
  const weights = await openWeights(dir);
  try {
    return describe(dir, weights);
  } finally {
    weights.close();
  }
}

function describe(dir: string, weights: Weights): ModelConfig {
  const corrupt = (problem: string): WhisperError => new WhisperError('model_corrupt', `${dir}: ${problem}`);
  const config = readJson(join(dir, 'config.json'));
  if (config === undefined) throw new WhisperError('model_not_found', `${dir}: has no config.json`);
  const generation = readJson(join(dir, 'generation_config.json')) ?? {};
  const size = (name: string, axis: number): number => {
    const value = weights.shape(name)[axis];
    if (value === undefined || value === 0) throw corrupt(`${name} has no axis ${axis}`);
    return value;
  };
  const width = size('encoder.conv1.weight', 0);
  const heads =
    weights.heads ?? (Number.isInteger(config.encoder_attention_heads) ? (config.encoder_attention_heads as number) : width / HEAD_WIDTH);
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0)
    throw corrupt(`width ${width} cannot be split into ${heads} attention heads`);
  const decoderLayers = countLayers(weights, 'decoder');
  const encoderLayers = countLayers(weights, 'encoder');
  if (encoderLayers === 0 || decoderLayers === 0) throw corrupt(`has ${encoderLayers} encoder and ${decoderLayers} decoder layers`);
  const vocabularySize = size('decoder.embed_tokens.weight', 0);

  return {
    name: basename(resolve(dir)).replace(/^(faster-)?whisper-/, ''),
    melBins: size('encoder.conv1.weight', 1),
    encoderLayers,
    decoderLayers,
    heads,
    width,
    vocabularySize,
    maxAudioPositions: size('encoder.embed_positions.weight', 0),
    maxTextPositions: size('decoder.embed_positions.weight', 0),
    alignmentHeads: alignmentHeads(generation.alignment_heads ?? config.alignment_heads, decoderLayers, heads),
    suppressTokens: tokenIds(generation.suppress_tokens ?? config.suppress_tokens ?? config.suppress_ids, vocabularySize),
    beginSuppressTokens: tokenIds(
      generation.begin_suppress_tokens ?? config.begin_suppress_tokens ?? config.suppress_ids_begin,
      vocabularySize,
    ),
    multilingual: typeof generation.is_multilingual === 'boolean' ? generation.is_multilingual : vocabularySize >= MULTILINGUAL_VOCABULARY,
  };
}

function countLayers(weights: Weights, side: 'encoder' | 'decoder'): number {
  let count = 0;
  while (weights.has(`${side}.layers.${count}.fc1.weight`)) count++;
  return count;
}

/**
 * The heads that the files name, where all of them exist. Distilled models were published with the heads of their teacher,
 * in layers that the student lacks; these, like none at all, mean all heads of the last half (whisper/model.py).
 */
function alignmentHeads(value: unknown, layers: number, heads: number): [layer: number, head: number][] {
  const isHead = (pair: unknown): pair is [number, number] =>
    Array.isArray(pair) && pair.length === 2 && isIndex(pair[0], layers) && isIndex(pair[1], heads);
  if (Array.isArray(value) && value.length > 0 && value.every(isHead)) return value;
  const firstLayer = Math.floor(layers / 2);
  return Array.from({ length: (layers - firstLayer) * heads }, (_, index) => [firstLayer + Math.floor(index / heads), index % heads]);
}

/** Ids outside of the vocabulary (-1 stands for "the default list" in openai's own options) are dropped. */
function tokenIds(value: unknown, vocabularySize: number): number[] {
  return Array.isArray(value) ? value.filter((id) => isIndex(id, vocabularySize)) : [];
}

function isIndex(value: unknown, count: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < count;
}

function readJson(path: string): Record<string, unknown> | undefined {
  if (!existsSync(path)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new WhisperError('model_corrupt', `${path}: is not valid JSON`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new WhisperError('model_corrupt', `${path}: is not a JSON object`);
  return value as Record<string, unknown>;
}

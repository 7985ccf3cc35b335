// How many encoder positions a batch may hold in a device's memory: an estimate, which running out of memory corrects (batch-limit.ts). Pure.

import type { ModelConfig } from '../model/config.ts';
import type { Precision } from '../model/graph-layers.ts';

/** Of the memory that is left beside weights: allocators keep some, and what is freed comes back in pieces. */
const USABLE = 0.7;
/** Tokens of a window that the estimate counts with: forced and decoded ones. */
const TOKENS = 150;
/** Waves and spectra of log-mel, float32, a position. */
const LOG_MEL_BYTES = 2 * 402 * 4 * 3;

/** Bytes of a model's weights. */
export function weightBytes(config: ModelConfig, precision: Precision): number {
  const { decoderLayers, encoderLayers, maxAudioPositions, maxTextPositions, melBins, vocabularySize, width } = config;
  const encoder = encoderLayers * 12 * width ** 2 + 3 * (melBins + width) * width + maxAudioPositions * width;
  const decoder = decoderLayers * 16 * width ** 2 + (vocabularySize + maxTextPositions) * width;
  return (encoder + decoder) * valueBytes(precision);
}

/** Bytes that one window of `positions` takes of a run, where it is largest: in the encoder's attention, or while it is decoded. */
export function windowBytes(config: ModelConfig, precision: Precision, positions: number): number {
  const { alignmentHeads, decoderLayers, heads, vocabularySize, width } = config;
  const value = valueBytes(precision);
  // Unfused attention keeps the scores before and after the soft-max.
  const scores = (2 * heads + 1) * positions ** 2 * value;
  const layer = 16 * positions * width * value;
  const cross = 2 * decoderLayers * positions * width * value;
  // Each step writes the cache anew, longer by a token.
  const self = 2 * 2 * decoderLayers * TOKENS * width * value;
  // Once a step by step, once joined.
  const alignment = 2 * alignmentHeads.length * positions * TOKENS * 4;
  const logits = 4 * vocabularySize * 4;
  return Math.max(scores + layer + positions * LOG_MEL_BYTES, self + alignment + logits) + cross;
}

/**
 * Positions of all windows of a batch together, so that it fits: at least one whole window.
 * @param memoryBytes of the device, for one engine
 */
export function mostPositions(config: ModelConfig, precision: Precision, memoryBytes: number): number {
  const longest = config.maxAudioPositions;
  const room = Math.max(0, memoryBytes - weightBytes(config, precision)) * USABLE;
  return Math.max(1, Math.floor(room / windowBytes(config, precision, longest))) * longest;
}

const valueBytes = (precision: Precision): number => ({ int8: 1, float16: 2, float32: 4 })[precision];

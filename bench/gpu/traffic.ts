// The least that a step of the decoder has to read of a device's memory, and how fast devices can read at most. Pure.

import type { ModelConfig } from '../../src/model/config.ts';
import type { Precision } from '../../src/model/graph-layers.ts';

const BYTES = { int8: 1, float16: 2, float32: 4 } as const satisfies Record<Precision, number>;

export interface StepBytes {
  /** Of the decoder's layers, without what only the encoder's output goes through, and of the vocabulary. Once, however large the batch. */
  readonly weights: number;
  /** Keys and values of the audio, and the keys of the alignment heads again. */
  readonly cross: number;
  /** Keys and values of the tokens before. */
  readonly self: number;
  readonly total: number;
}

export interface StepSizes {
  readonly batch: number;
  /** Encoder positions of a window, padding included. */
  readonly positions: number;
  /** Tokens before the step's own. */
  readonly past: number;
}

/** Each value read once; activations and logits, which a device may keep near its cores, are not counted. */
export function stepBytes(config: ModelConfig, precision: Precision, { batch, past, positions }: StepSizes): StepBytes {
  const { alignmentHeads, decoderLayers, heads, vocabularySize, width } = config;
  const value = BYTES[precision];
  // Self-attention 4 matrices, cross-attention 2 (the other 2 make the caches), feed-forward 8; norms and biases beside them.
  const layer = 14 * width ** 2 + 16 * width;
  const weights = value * (decoderLayers * layer + (vocabularySize + 2) * width);
  const cross = value * batch * positions * (2 * decoderLayers * width + alignmentHeads.length * (width / heads));
  const self = value * batch * past * 2 * decoderLayers * width;
  return { weights, cross, self, total: weights + cross + self };
}

/** GB/s of memory as makers state it, for names as nvidia-smi tells them. The first that fits. */
const STATED: readonly (readonly [name: RegExp, gigabytesPerSecond: number])[] = [
  [/H200/, 4800],
  [/H100 NVL/, 3900],
  [/H100 PCIe/, 2000],
  [/H100/, 3350],
  [/A100.*80GB PCIe/, 1935],
  [/A100.*80GB/, 2039],
  [/A100/, 1555],
  [/L40S/, 864],
  [/L40/, 864],
  [/L4\b/, 300],
  [/A10G?\b/, 600],
  [/T4\b/, 320],
  [/V100/, 900],
  [/RTX 4090/, 1008],
  [/RTX 3090/, 936],
];

/** Null for a device that is not in the table. */
export const statedBandwidth = (gpuName: string): number | null => STATED.find(([name]) => name.test(gpuName))?.[1] ?? null;

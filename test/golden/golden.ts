// Reads the golden vectors; make_golden.py writes them and describes every field in its header.

import { readFileSync } from 'node:fs';

export interface GoldenWindow {
  readonly seconds: number;
  readonly samples: number;
  readonly logMel: {
    readonly bins: number;
    readonly frames: number;
    readonly atBins: readonly number[];
    readonly atFrames: readonly number[];
    /** [bin][frame] */
    readonly values: readonly (readonly number[])[];
    readonly mean: number;
    readonly deviation: number;
    readonly minimum: number;
    readonly maximum: number;
  };
  readonly encoder: {
    readonly positions: number;
    readonly width: number;
    readonly atPositions: readonly number[];
    readonly atChannels: readonly number[];
    /** [position][channel] */
    readonly values: readonly (readonly number[])[];
    readonly mean: number;
    readonly deviation: number;
  };
  readonly cross: readonly {
    readonly layer: number;
    readonly name: 'k' | 'v';
    readonly atPositions: readonly number[];
    readonly atHeads: readonly number[];
    readonly atChannels: readonly number[];
    /** [head][position][channel] */
    readonly values: readonly (readonly (readonly number[])[])[];
  }[];
  readonly decoder: {
    /** Forced. */
    readonly tokens: readonly number[];
    readonly startLength: number;
    /** `index` i: the raw logits that predict tokens[i + 1]. */
    readonly steps: readonly {
      readonly index: number;
      readonly top: readonly (readonly [token: number, logit: number])[];
      readonly logSumExp: number;
      readonly mean: number;
    }[];
  };
  readonly alignment: {
    readonly heads: readonly (readonly [layer: number, head: number])[];
    readonly atTokens: readonly number[];
    readonly atPositions: readonly number[];
    /** [head][token][position] */
    readonly values: readonly (readonly (readonly number[])[])[];
  };
}

export interface Golden {
  readonly clipSamples: number;
  /** Largest absolute difference for a float32 implementation. */
  readonly tolerance: {
    readonly logMel: number;
    readonly encoder: number;
    readonly cross: number;
    readonly logits: number;
    readonly alignment: number;
  };
  /** What CTranslate2's int8 loses. */
  readonly int8: { readonly encoderCosine: number; readonly logits: number };
  /** Ends with `<|endoftext|>`. */
  readonly greedy: { readonly tokens: readonly number[]; readonly text: string };
  /** faster-whisper float32, beam 5; seconds. */
  readonly words: readonly { readonly text: string; readonly start: number; readonly end: number; readonly probability: number }[];
  readonly windows: readonly GoldenWindow[];
}

export function readGolden(name: 'base' | 'tiny.en'): Golden {
  return JSON.parse(readFileSync(new URL(`./${name}.json`, import.meta.url), 'utf8')) as Golden;
}

/** The clip that all golden vectors are of: "The quick brown fox jumps over the lazy dog.", 2.9 s at 16 kHz. */
export function goldenClip(): Float32Array {
  const bytes = readFileSync(new URL('./quick_brown_fox.s16le', import.meta.url));
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readInt16LE(2 * i) / 32_768);
}

/** The clip, and zeros up to `samples`. */
export function goldenInput(samples: number): Float32Array {
  const padded = new Float32Array(samples);
  padded.set(goldenClip());
  return padded;
}

// int8 weights: one scale a column, or one a block of 128 rows of a column. Symmetric, round to nearest.

/** Rows of a column that share a scale in the blockwise form. */
export const BLOCK_SIZE = 128;

export interface ColumnQuantised {
  /** [inputs, outputs] row-major */
  readonly values: Int8Array;
  /** [outputs] */
  readonly scales: Float32Array;
}

/** Of two neighbours' magnitudes, in steps of a scale: times an activation of 255 it still is a number of 16 bits, after rounding, too. */
const LARGEST_PAIR = 127;

/**
 * y = x · w with w = values * scales[column].
 *
 * x86 without VNNI multiplies activations of 8 bits with two neighbours of a column at once and adds both products in 16 bits (`vpmaddubsw`),
 * which saturate. So the scale is such that they cannot: a fifth to a third more of a step than the largest weight alone would ask for.
 * @param weight [outputs, inputs] row-major, as Hugging Face stores linear layers
 */
export function quantiseColumns(weight: Float32Array, outputs: number, inputs: number): ColumnQuantised {
  const values = new Int8Array(inputs * outputs);
  const scales = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    const scale = largestPair(weight, o * inputs, inputs) / LARGEST_PAIR || 1;
    scales[o] = scale;
    for (let i = 0; i < inputs; i++) values[i * outputs + o] = roundEven((weight[o * inputs + i] as number) / scale);
  }
  return { values, scales };
}

export interface BlockQuantised {
  /** [outputs, blocks, BLOCK_SIZE], offset by 128 */
  readonly values: Uint8Array;
  /** [outputs, blocks] */
  readonly scales: Float32Array;
}

/**
 * For MatMulNBits with 8 bits: w[o, i] = (values[o, block, j] - 128) * scales[o, block].
 * @param weight [outputs, inputs] row-major; a last block that is not full is padded with zeros
 */
export function quantiseBlocks(weight: Float32Array, outputs: number, inputs: number): BlockQuantised {
  const blocks = Math.ceil(inputs / BLOCK_SIZE);
  const values = new Uint8Array(outputs * blocks * BLOCK_SIZE).fill(128);
  const scales = new Float32Array(outputs * blocks);
  for (let o = 0; o < outputs; o++) {
    for (let b = 0; b < blocks; b++) {
      const start = o * inputs + b * BLOCK_SIZE;
      const length = Math.min(BLOCK_SIZE, inputs - b * BLOCK_SIZE);
      const scale = largest(weight, start, length) / 127 || 1;
      scales[o * blocks + b] = scale;
      const target = (o * blocks + b) * BLOCK_SIZE;
      for (let j = 0; j < length; j++) values[target + j] = roundEven((weight[start + j] as number) / scale) + 128;
    }
  }
  return { values, scales };
}

/** Where a normed value peaks, in its standard deviations. */
const NORM_DEVIATIONS = 3;
/** 1 evens out activations, 0 weights. Logits of `base` off float32: 0.5 0.084, 0.6 0.082, 0.7 0.091 (root mean square). */
const SMOOTHING_STRENGTH = 0.6;

/**
 * Activations with peaks far apart leave the smaller ones few of the steps that they share. Dividing each channel by a factor and multiplying
 * its weights by it changes nothing but the rounding (SmoothQuant, https://arxiv.org/abs/2211.10438). That takes activations' peaks from
 * recordings; behind a norm they are known well enough from its gains and biases.
 * @param weight [outputs, channels] row-major
 * @returns a factor a channel
 */
export function smoothingFactors(
  weight: Float32Array,
  { gains, biases }: { readonly gains: Float32Array; readonly biases: Float32Array },
): Float32Array {
  const channels = gains.length;
  const peaks = new Float32Array(channels);
  for (let i = 0; i < weight.length; i++) peaks[i % channels] = Math.max(peaks[i % channels] as number, Math.abs(weight[i] as number));
  return gains.map((gain, c) => {
    const activation = NORM_DEVIATIONS * Math.abs(gain) + Math.abs(biases[c] as number);
    const factor = activation ** SMOOTHING_STRENGTH / (peaks[c] as number) ** (1 - SMOOTHING_STRENGTH);
    return Number.isFinite(factor) && factor > 0 ? factor : 1;
  });
}

function largestPair(values: Float32Array, start: number, length: number): number {
  let peak = 0;
  for (let i = 0; i < length; i += 2) {
    const second = i + 1 < length ? Math.abs(values[start + i + 1] as number) : 0;
    peak = Math.max(peak, Math.abs(values[start + i] as number) + second);
  }
  return peak;
}

function largest(values: Float32Array, start: number, length: number): number {
  let peak = 0;
  for (let i = start; i < start + length; i++) peak = Math.max(peak, Math.abs(values[i] as number));
  return peak;
}

/** Rounds halves to the even neighbour, as IEEE 754 and numpy do: no bias. */
function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

// int8 weights: one scale a column (encoder) or one a block of 128 rows of a column (decoder). Symmetric, round to nearest.

/** Rows of a column that share a scale in the blockwise form. */
export const BLOCK_SIZE = 128;

export interface ColumnQuantised {
  /** [inputs, outputs] row-major */
  readonly values: Int8Array;
  /** [outputs] */
  readonly scales: Float32Array;
}

/**
 * For DynamicQuantizeMatMul: y = x · w with w = values * scales[column].
 * @param weight [outputs, inputs] row-major, as Hugging Face stores linear layers
 */
export function quantiseColumns(weight: Float32Array, outputs: number, inputs: number): ColumnQuantised {
  const values = new Int8Array(inputs * outputs);
  const scales = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    const scale = largest(weight, o * inputs, inputs) / 127 || 1;
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
  readonly blocks: number;
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
  return { values, scales, blocks };
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

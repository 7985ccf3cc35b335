// When each token was said: dynamic time warping over the cross-attention of the alignment heads (`whisper/timing.py`).

/** Of the median filter along time, on each side: 7 positions of 20 ms in all. */
const HALF_WIDTH = 3;
/**
 * What 1 is in standardised scores, which are whole numbers: their least and largest are then found without a branch. A score is at most the
 * root of the number of rows, so below 2^25.
 */
const UNIT = 2 ** 20;

/**
 * @param scores scaled q · k, [heads, rows, stride]; overwritten
 * @param frames positions that hold audio, at most `stride`; the silent margin after them is not looked at
 * @returns for each row the position (20 ms) at which its token begins, ascending
 */
export function alignRows(scores: Float32Array, heads: number, rows: number, stride: number, frames: number): Int32Array {
  const cost = new Float64Array(rows * frames);
  const means = new Float64Array(frames);
  const factors = new Float64Array(frames);
  const mirrored = new Int32Array(mirroredLength(frames));
  for (let h = 0; h < heads; h++) {
    const head = scores.subarray(h * rows * stride, (h + 1) * rows * stride);
    softmaxRows(head, rows, stride, frames);
    standardisation(head, rows, stride, means, factors);
    for (let r = 0; r < rows; r++) {
      const row = r * stride;
      for (let f = 0; f < frames; f++)
        mirrored[HALF_WIDTH + f] = ((head[row + f] as number) - (means[f] as number)) * (factors[f] as number);
      subtractMedians(mirrored, cost.subarray(r * frames, (r + 1) * frames));
    }
  }
  return warp(cost, rows, frames);
}

function softmaxRows(head: Float32Array, rows: number, stride: number, frames: number): void {
  for (let r = 0; r < rows; r++) {
    const start = r * stride;
    const end = start + frames;
    let peak = -Infinity;
    for (let f = start; f < end; f++) if ((head[f] as number) > peak) peak = head[f] as number;
    let sum = 0;
    for (let f = start; f < end; f++) {
      const value = exponential((head[f] as number) - peak);
      head[f] = value;
      sum += value;
    }
    const factor = 1 / sum;
    for (let f = start; f < end; f++) head[f] = (head[f] as number) * factor;
  }
}

/** e to this is about the least that float32 holds in full. */
const LEAST_EXPONENT = -87;
/** 2^0, 2^-1 ... */
const HALVES = Float64Array.from({ length: 128 }, (_, i) => 2 ** -i);

/** e^x for x <= 0, off by at most 2e-7 of it, in half the time of Math.exp. */
export function exponential(x: number): number {
  if (x < LEAST_EXPONENT) return 0;
  const binary = x * Math.LOG2E;
  const whole = (binary - 0.5) | 0;
  const rest = (binary - whole) * Math.LN2;
  const series = 1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24 + rest * (1 / 120 + rest * (1 / 720))))));
  return series * (HALVES[-whole] as number);
}

/** Of each position over the rows: the mean, and what brings the deviation to UNIT. */
function standardisation(head: Float32Array, rows: number, stride: number, means: Float64Array, factors: Float64Array): void {
  const frames = means.length;
  means.fill(0);
  factors.fill(0);
  for (let r = 0; r < rows; r++) for (let f = 0; f < frames; f++) means[f] = (means[f] as number) + (head[r * stride + f] as number);
  for (let f = 0; f < frames; f++) means[f] = (means[f] as number) / rows;
  for (let r = 0; r < rows; r++) {
    for (let f = 0; f < frames; f++) {
      const difference = (head[r * stride + f] as number) - (means[f] as number);
      factors[f] = (factors[f] as number) + difference * difference;
    }
  }
  for (let f = 0; f < frames; f++) factors[f] = UNIT / (Math.sqrt((factors[f] as number) / rows) + 1e-9);
}

/** Values that `subtractMedians` wants for so many frames: they are behind HALF_WIDTH others. */
export const mirroredLength = (frames: number): number => frames + 2 * HALF_WIDTH;

/**
 * Subtracts the sliding median of seven values; the ends are mirrored. Two neighbours share six values, of which the third and the
 * fourth in order are found once: the median of seven is the seventh value, but not below the one nor above the other.
 * @param values below 2^30 in size, [HALF_WIDTH + frames + ...]; what is around them is overwritten
 * @param out [frames]
 */
export function subtractMedians(values: Int32Array, out: Float64Array): void {
  const frames = out.length;
  if (frames <= HALF_WIDTH) {
    for (let f = 0; f < frames; f++) out[f] = (out[f] as number) - (values[HALF_WIDTH + f] as number);
    return;
  }
  const last = HALF_WIDTH + frames - 1;
  for (let i = 1; i <= HALF_WIDTH; i++) {
    values[HALF_WIDTH - i] = values[HALF_WIDTH + i] as number;
    values[last + i] = values[last - i] as number;
  }
  for (let f = 0; f < frames; f += 2) {
    // Two ordered triples, a <= b <= c and x <= y <= z.
    const [p, q, r] = [values[f + 1] as number, values[f + 2] as number, values[f + 3] as number];
    const [low, high] = [least(p, q), largest(p, q)];
    const a = least(low, r);
    const b = largest(low, least(high, r));
    const c = largest(high, r);
    const [s, t, u] = [values[f + 4] as number, values[f + 5] as number, values[f + 6] as number];
    const [under, over] = [least(s, t), largest(s, t)];
    const x = least(under, u);
    const y = largest(under, least(over, u));
    const z = largest(over, u);
    const third = least(least(c, largest(b, x)), least(largest(a, y), z));
    const fourth = least(largest(c, x), least(largest(b, y), largest(a, z)));
    out[f] = (out[f] as number) - largest(third, least(values[f] as number, fourth));
    // Of an odd number of frames, the last has no neighbour.
    if (f + 1 < frames) out[f + 1] = (out[f + 1] as number) - largest(third, least(values[f + 7] as number, fourth));
  }
}

/** Of numbers below 2^30 in size; neither Math.min nor a comparison is without a branch, which noise makes expensive. */
const least = (p: number, q: number): number => {
  const difference = (p - q) | 0;
  return (q + (difference & (difference >> 31))) | 0;
};
const largest = (p: number, q: number): number => {
  const difference = (p - q) | 0;
  return (p - (difference & (difference >> 31))) | 0;
};

const DIAGONAL = 0;
const NEXT_ROW = 1;
const NEXT_FRAME = 2;

/** The cheapest monotone path through cost [rows, frames]; returns where it enters each row. */
export function warp(cost: Float64Array, rows: number, frames: number): Int32Array {
  const trace = new Uint8Array((rows + 1) * (frames + 1)).fill(NEXT_FRAME, 0, frames + 1);
  let above = new Float64Array(frames + 1).fill(Infinity);
  above[0] = 0;
  let current = new Float64Array(frames + 1);
  for (let r = 1; r <= rows; r++) {
    current[0] = Infinity;
    const row = r * (frames + 1);
    trace[row] = NEXT_ROW;
    for (let f = 1; f <= frames; f++) {
      const diagonal = above[f - 1] as number;
      const down = above[f] as number;
      const right = current[f - 1] as number;
      let least = diagonal;
      let step = DIAGONAL;
      if (down < least) {
        least = down;
        step = NEXT_ROW;
      }
      if (right < least) {
        least = right;
        step = NEXT_FRAME;
      }
      current[f] = least + (cost[(r - 1) * frames + f - 1] as number);
      trace[row + f] = step;
    }
    [above, current] = [current, above];
  }
  const starts = new Int32Array(rows);
  let r = rows;
  let f = frames;
  while (r > 0 || f > 0) {
    if (r > 0) starts[r - 1] = Math.max(0, f - 1);
    const step = trace[r * (frames + 1) + f];
    if (step !== NEXT_FRAME) r--;
    if (step !== NEXT_ROW) f--;
  }
  return starts;
}

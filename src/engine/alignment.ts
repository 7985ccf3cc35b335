// When each token was said: dynamic time warping over the cross-attention of the alignment heads (`whisper/timing.py`).

/** Width of the median filter along time, in positions of 20 ms. */
const MEDIAN_WIDTH = 7;

/**
 * @param scores scaled q · k, [heads, rows, stride]; overwritten
 * @param frames positions that hold audio, at most `stride`; the silent margin after them is not looked at
 * @returns for each row the position (20 ms) at which its token begins, ascending
 */
export function alignRows(scores: Float32Array, heads: number, rows: number, stride: number, frames: number): Int32Array {
  const cost = new Float32Array(rows * frames);
  const filtered = new Float32Array(frames);
  for (let h = 0; h < heads; h++) {
    const head = scores.subarray(h * rows * stride, (h + 1) * rows * stride);
    softmaxRows(head, rows, stride, frames);
    standardiseColumns(head, rows, stride, frames);
    for (let r = 0; r < rows; r++) {
      medianFilter(head.subarray(r * stride, r * stride + frames), filtered);
      const out = r * frames;
      for (let f = 0; f < frames; f++) cost[out + f] = (cost[out + f] as number) - (filtered[f] as number) / heads;
    }
  }
  return warp(cost, rows, frames);
}

function softmaxRows(head: Float32Array, rows: number, stride: number, frames: number): void {
  for (let r = 0; r < rows; r++) {
    const start = r * stride;
    let peak = -Infinity;
    for (let f = start; f < start + frames; f++) if ((head[f] as number) > peak) peak = head[f] as number;
    let sum = 0;
    for (let f = start; f < start + frames; f++) {
      const value = Math.exp((head[f] as number) - peak);
      head[f] = value;
      sum += value;
    }
    for (let f = start; f < start + frames; f++) head[f] = (head[f] as number) / sum;
  }
}

/** Mean 0 and deviation 1 over the rows, at each position. */
function standardiseColumns(head: Float32Array, rows: number, stride: number, frames: number): void {
  for (let f = 0; f < frames; f++) {
    let sum = 0;
    for (let r = 0; r < rows; r++) sum += head[r * stride + f] as number;
    const mean = sum / rows;
    let squares = 0;
    for (let r = 0; r < rows; r++) squares += ((head[r * stride + f] as number) - mean) ** 2;
    const deviation = Math.sqrt(squares / rows) + 1e-9;
    for (let r = 0; r < rows; r++) head[r * stride + f] = ((head[r * stride + f] as number) - mean) / deviation;
  }
}

/** Sliding median of MEDIAN_WIDTH values; the ends are mirrored. Keeps a sorted window: one value leaves and one enters a step. */
export function medianFilter(values: Float32Array, out: Float32Array): void {
  const n = values.length;
  const half = MEDIAN_WIDTH >> 1;
  if (n <= half) {
    out.set(values);
    return;
  }
  const at = (i: number): number => values[i < 0 ? -i : i >= n ? 2 * n - 2 - i : i] as number;
  const sorted = new Float32Array(MEDIAN_WIDTH);
  for (let i = 0; i < MEDIAN_WIDTH; i++) sorted[i] = at(i - half);
  sorted.sort();
  for (let f = 0; ; f++) {
    out[f] = sorted[half] as number;
    if (f === n - 1) return;
    const leaves = at(f - half);
    const enters = at(f + half + 1);
    let i = 0;
    while (i < MEDIAN_WIDTH - 1 && sorted[i] !== leaves) i++;
    while (i < MEDIAN_WIDTH - 1 && (sorted[i + 1] as number) < enters) {
      sorted[i] = sorted[i + 1] as number;
      i++;
    }
    while (i > 0 && (sorted[i - 1] as number) > enters) {
      sorted[i] = sorted[i - 1] as number;
      i--;
    }
    sorted[i] = enters;
  }
}

const DIAGONAL = 0;
const NEXT_ROW = 1;
const NEXT_FRAME = 2;

/** The cheapest monotone path through cost [rows, frames]; returns where it enters each row. */
export function warp(cost: Float32Array, rows: number, frames: number): Int32Array {
  const trace = new Uint8Array((rows + 1) * (frames + 1)).fill(NEXT_FRAME, 0, frames + 1);
  let above = new Float32Array(frames + 1).fill(Infinity);
  above[0] = 0;
  let current = new Float32Array(frames + 1);
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

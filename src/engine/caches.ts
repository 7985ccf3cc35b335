// The attention caches of a running batch: buffers that are allocated once and reused, handed to onnxruntime as views.

import { Tensor } from 'onnxruntime-node';
import type { WindowPositions } from './positions.ts';

/** The sizes of a model that caches depend on. */
export interface CacheShape {
  readonly layers: number;
  readonly heads: number;
  readonly headDim: number;
  /** Number of alignment heads of each decoder layer. */
  readonly alignmentHeads: readonly number[];
}

type Feeds = Record<string, Tensor>;

/** Every step reads the padding, too; making a cache narrower takes as long as a step or two reading it. */
const NARROW_FROM = 0.8;

/** A named tensor of shape [rows, outer, inner...] of which rows come and go; `inner` depends on the batch. */
interface Slot {
  readonly name: string;
  /** Dimensions between the row and the end; `null` marks the one that is the number of positions. */
  readonly dims: readonly (number | null)[];
  data: Float32Array;
}

const sizeOf = (slot: Slot, positions: number): number => slot.dims.reduce<number>((a, d) => a * (d ?? positions), 1);

/** Room for `elements`; what the first `kept` hold stays. */
function ensure(slot: Slot, elements: number, kept = 0): void {
  if (slot.data.length >= elements) return;
  const grown = new Float32Array(elements);
  grown.set(slot.data.subarray(0, kept));
  slot.data = grown;
}

/** Contiguous runs of a window's values that hold its positions in order, and how many values a position has in them. */
function runsOf({ dims }: Slot): { runs: number; width: number } {
  // [positions, headDim] of a head for keys and values, [positions] of a head's dimension for alignment.
  const [a, b, c] = dims as readonly [number, number | null, number | null];
  return c === null ? { runs: a * (b as number), width: 1 } : { runs: a, width: c };
}

/** What the decoder reads of the encoder's work for some windows. */
export interface EncodedWindows {
  readonly windows: number;
  readonly positions: number;
  /** Those of each window. */
  readonly chosen: readonly WindowPositions[];
  feeds(): Feeds;
}

/**
 * What the encoder leaves for the decoder, window by window: `cross_k_L`, `cross_v_L` [windows, heads, S, headDim] and
 * `align_k_L` [windows, alignment heads, headDim, S]. Windows shorter than S are padded.
 */
export class CrossCache implements EncodedWindows {
  readonly #slots: Slot[];
  #feeds: Feeds | null = null;
  windows = 0;
  positions = 0;
  readonly chosen: WindowPositions[] = [];

  constructor(shape: CacheShape) {
    const empty = new Float32Array(0);
    this.#slots = Array.from({ length: shape.layers }, (_, l) => [
      { name: `cross_k_${l}`, dims: [shape.heads, null, shape.headDim], data: empty },
      { name: `cross_v_${l}`, dims: [shape.heads, null, shape.headDim], data: empty },
      ...(shape.alignmentHeads[l]
        ? [{ name: `align_k_${l}`, dims: [shape.alignmentHeads[l] as number, shape.headDim, null], data: empty }]
        : []),
    ]).flat();
  }

  /** Makes room for `windows` windows of `positions` positions; what was there is gone. */
  reset(windows: number, positions: number): void {
    this.windows = windows;
    this.positions = positions;
    this.chosen.length = 0;
    this.#feeds = null;
    for (const slot of this.#slots) ensure(slot, windows * sizeOf(slot, positions));
  }

  /** Room for one more window of up to `positions` positions, beside those that are there; returns its place. */
  append(positions: number): number {
    if (this.windows === 0) {
      this.reset(1, positions);
      return 0;
    }
    const wide = Math.max(positions, this.positions);
    for (const slot of this.#slots) {
      ensure(slot, (this.windows + 1) * sizeOf(slot, wide), this.windows * sizeOf(slot, this.positions));
      if (wide > this.positions) widen(slot, this.windows, this.positions, wide);
    }
    this.positions = wide;
    this.#feeds = null;
    return this.windows++;
  }

  /** Views of window `w` alone, batch 1: where the encoder writes a window as long as the cache, or what a single window reads. */
  window(w: number): Feeds {
    return this.#views(w, 1);
  }

  /** Window `w` as if it were the only one. */
  only(w: number): EncodedWindows {
    return { windows: 1, positions: this.positions, chosen: [this.chosen[w] as WindowPositions], feeds: () => this.window(w) };
  }

  /** Views of all windows. */
  feeds(): Feeds {
    this.#feeds ??= this.#views(0, this.windows);
    return this.#feeds;
  }

  /**
   * Copies window `from` of a cache, which may be this one, to window `w`, which has room for it. The padding is zeroed: its keys are masked, its
   * values must be finite.
   */
  copyFrom(w: number, source: CrossCache, from = 0): void {
    const chosen = source.chosen[from] as WindowPositions;
    const own = chosen.indices.length;
    this.#slots.forEach((slot, i) => {
      const size = sizeOf(slot, this.positions);
      const target = slot.data.subarray(w * size, (w + 1) * size);
      const sourceSize = sizeOf(slot, source.positions);
      const data = (source.#slots[i] as Slot).data.subarray(from * sourceSize, (from + 1) * sourceSize);
      const { runs, width } = runsOf(slot);
      for (let r = 0; r < runs; r++) {
        const start = r * this.positions * width;
        const first = r * source.positions * width;
        target.set(data.subarray(first, first + own * width), start);
        target.fill(0, start + own * width, start + this.positions * width);
      }
    });
    this.chosen[w] = chosen;
  }

  /** Drops window `w`; the last one takes its place. What only the dropped one was wide enough to need is given up. */
  remove(w: number): void {
    const last = --this.windows;
    if (w !== last) {
      for (const slot of this.#slots) {
        const size = sizeOf(slot, this.positions);
        slot.data.copyWithin(w * size, last * size, (last + 1) * size);
      }
      this.chosen[w] = this.chosen[last] as WindowPositions;
    }
    this.chosen.length = last;
    this.#feeds = null;
    const widest = Math.max(0, ...this.chosen.map(({ indices }) => indices.length));
    if (widest > 0 && widest <= NARROW_FROM * this.positions) {
      for (const slot of this.#slots) narrow(slot, last, this.positions, widest);
      this.positions = widest;
    }
  }

  #views(first: number, count: number): Feeds {
    const views: Feeds = {};
    for (const slot of this.#slots) {
      const size = sizeOf(slot, this.positions);
      const dims = [count, ...slot.dims.map((d) => d ?? this.positions)];
      views[slot.name] = new Tensor('float32', slot.data.subarray(first * size, (first + count) * size), dims);
    }
    return views;
  }
}

/** Moves the runs of `windows` windows together, from `from` to `to` positions, in place: the first run first. */
function narrow(slot: Slot, windows: number, from: number, to: number): void {
  const { runs, width } = runsOf(slot);
  for (let r = 1; r < windows * runs; r++) slot.data.copyWithin(r * to * width, r * from * width, (r * from + to) * width);
}

/** Moves the runs of `windows` windows apart, from `from` to `to` positions, in place: the last run first. */
function widen(slot: Slot, windows: number, from: number, to: number): void {
  const { runs, width } = runsOf(slot);
  for (let r = windows * runs - 1; r >= 0; r--) {
    slot.data.copyWithin(r * to * width, r * from * width, (r + 1) * from * width);
    slot.data.fill(0, (r * to + from) * width, (r + 1) * to * width);
  }
}

/** A row for `assemble`: columns [from, to) of a row of a cache. */
export interface RowSource {
  readonly cache: SelfCache;
  readonly row: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Keys and values of the tokens decoded so far, [rows, heads, length, headDim] a layer. Each step reads one set of buffers
 * and has the other written, one token longer.
 */
export class SelfCache {
  readonly #shape: CacheShape;
  readonly #rowWidth: number;
  #current: Float32Array[];
  #next: Float32Array[];
  rows = 0;
  length = 0;

  constructor(shape: CacheShape) {
    this.#shape = shape;
    this.#rowWidth = shape.heads * shape.headDim;
    this.#current = Array.from({ length: 2 * shape.layers }, () => new Float32Array(0));
    this.#next = Array.from({ length: 2 * shape.layers }, () => new Float32Array(0));
  }

  reset(rows: number): void {
    this.rows = rows;
    this.length = 0;
  }

  /** The inputs `past_*`. */
  feeds(): Feeds {
    return this.#views('past', this.#current, this.length);
  }

  /** The outputs `present_*` of a step of `count` tokens; call `advance` once they are written. */
  fetches(count: number): Feeds {
    return this.#views('present', this.#next, this.length + count);
  }

  advance(count: number): void {
    [this.#current, this.#next] = [this.#next, this.#current];
    this.length += count;
  }

  /**
   * The rows become copies of these, the shorter ones with unused columns at their start: rows join, leave, and lose the columns
   * that they no longer need. Sources may be rows of this cache.
   */
  assemble(sources: readonly RowSource[]): void {
    const { heads, headDim } = this.#shape;
    const length = Math.max(0, ...sources.map(({ from, to }) => to - from));
    const rowSize = this.#rowWidth * length;
    this.#current.forEach((_, i) => {
      const target = this.#room(this.#next, i, sources.length * rowSize);
      sources.forEach(({ cache, row, from, to }, r) => {
        const data = cache.#current[i] as Float32Array;
        for (let h = 0; h < heads; h++) {
          const source = (row * heads + h) * cache.length;
          const end = (r * heads + h + 1) * length;
          target.set(data.subarray((source + from) * headDim, (source + to) * headDim), (end - (to - from)) * headDim);
        }
      });
    });
    [this.#current, this.#next] = [this.#next, this.#current];
    this.rows = sources.length;
    this.length = length;
  }

  /** Row i becomes what row `sources[i]` was. */
  gather(sources: readonly number[]): void {
    const size = this.#rowWidth * this.length;
    const moves = sources.map((source, row) => [row, source] as const).filter(([row, source]) => row !== source);
    // In place where no row that is overwritten is read: a row that left, with the last one in its stead.
    if (moves.every(([row]) => !sources.includes(row))) {
      for (const data of this.#current) {
        if (data.length < sources.length * size) break;
        for (const [row, source] of moves) data.copyWithin(row * size, source * size, (source + 1) * size);
      }
      if ((this.#current[0] as Float32Array).length >= sources.length * size) {
        this.rows = sources.length;
        return;
      }
    }
    this.#current.forEach((data, i) => {
      const target = this.#room(this.#next, i, sources.length * size);
      sources.forEach((source, row) => {
        target.set(data.subarray(source * size, (source + 1) * size), row * size);
      });
    });
    [this.#current, this.#next] = [this.#next, this.#current];
    this.rows = sources.length;
  }

  #room(buffers: Float32Array[], i: number, elements: number): Float32Array {
    let data = buffers[i] as Float32Array;
    if (data.length < elements) {
      data = new Float32Array(Math.ceil(elements * 1.5));
      buffers[i] = data;
    }
    return data;
  }

  #views(prefix: string, buffers: Float32Array[], length: number): Feeds {
    const { layers, heads, headDim } = this.#shape;
    const elements = this.rows * this.#rowWidth * length;
    const views: Feeds = {};
    for (let l = 0; l < layers; l++) {
      for (const [i, kind] of ['k', 'v'].entries()) {
        const data = this.#room(buffers, 2 * l + i, elements).subarray(0, elements);
        views[`${prefix}_${kind}_${l}`] = new Tensor('float32', data, [this.rows, heads, length, headDim]);
      }
    }
    return views;
  }
}

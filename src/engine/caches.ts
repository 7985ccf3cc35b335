// The attention caches of a running batch: buffers that are allocated once and reused, handed to onnxruntime as views.

import { Tensor } from 'onnxruntime-node';

/** The sizes of a model that caches depend on. */
export interface CacheShape {
  readonly layers: number;
  readonly heads: number;
  readonly headDim: number;
  /** Number of alignment heads of each decoder layer. */
  readonly alignmentHeads: readonly number[];
}

type Feeds = Record<string, Tensor>;

/** A named tensor of shape [rows, outer, inner...] of which rows come and go; `inner` depends on the batch. */
interface Slot {
  readonly name: string;
  /** Dimensions between the row and the end; `null` marks the one that is the number of positions. */
  readonly dims: readonly (number | null)[];
  data: Float32Array;
}

const sizeOf = (slot: Slot, positions: number): number => slot.dims.reduce<number>((a, d) => a * (d ?? positions), 1);

function ensure(slot: Slot, elements: number): void {
  if (slot.data.length < elements) slot.data = new Float32Array(elements);
}

/**
 * What the encoder leaves for the decoder, for up to `windows` windows: `cross_k_L`, `cross_v_L` [windows, heads, S, headDim]
 * and `align_k_L` [windows, alignment heads, headDim, S]. Windows shorter than S are padded; `frames` says how long each is.
 */
export class CrossCache {
  readonly #shape: CacheShape;
  readonly #slots: Slot[];
  windows = 0;
  positions = 0;
  /** Valid positions of each window. */
  readonly frames: number[] = [];

  constructor(shape: CacheShape) {
    const empty = new Float32Array(0);
    this.#shape = shape;
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
    this.frames.length = 0;
    for (const slot of this.#slots) ensure(slot, windows * sizeOf(slot, positions));
  }

  /** Views of window `w` alone, batch 1: where the encoder writes a window as long as the cache, or what a single window reads. */
  window(w: number): Feeds {
    return this.#views(w, 1);
  }

  /** Views of all windows. */
  feeds(): Feeds {
    return this.#views(0, this.windows);
  }

  /** Copies window 0 of a shorter cache to window `w`, position by position. The padding is zeroed: its keys are masked, its values must be finite. */
  copyFrom(w: number, source: CrossCache): void {
    const from = source.positions;
    this.#slots.forEach((slot, i) => {
      const size = sizeOf(slot, this.positions);
      const target = slot.data.subarray(w * size, (w + 1) * size).fill(0);
      const data = (source.#slots[i] as Slot).data;
      // Contiguous runs: [positions, headDim] of a head for keys and values, [positions] of a head's dimension for alignment.
      const positionsLast = slot.dims.at(-1) === null;
      const runs = positionsLast ? (slot.dims[0] as number) * (slot.dims[1] as number) : (slot.dims[0] as number);
      const width = positionsLast ? 1 : (slot.dims[2] as number);
      for (let r = 0; r < runs; r++) target.set(data.subarray(r * from * width, (r + 1) * from * width), r * this.positions * width);
    });
    this.frames[w] = source.frames[0] as number;
  }

  /** A copy of window `w` alone, to decode it once more without encoding it again; into `copy`, whose own content is lost. */
  clone(w: number, copy = new CrossCache(this.#shape)): CrossCache {
    copy.reset(1, this.positions);
    copy.frames[0] = this.frames[w] as number;
    copy.#slots.forEach((slot, i) => {
      const size = sizeOf(slot, this.positions);
      slot.data.set((this.#slots[i] as Slot).data.subarray(w * size, (w + 1) * size));
    });
    return copy;
  }

  /** Drops window `w`; the last one takes its place. */
  remove(w: number): void {
    const last = --this.windows;
    if (w !== last) {
      for (const slot of this.#slots) {
        const size = sizeOf(slot, this.positions);
        slot.data.copyWithin(w * size, last * size, (last + 1) * size);
      }
      this.frames[w] = this.frames[last] as number;
    }
    this.frames.length = last;
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

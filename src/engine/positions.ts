// Which positions of a window go through the model. Where neighbours look alike, in speech that is there as context only and in silence,
// one position stands for several.

/** Samples of one encoder position: 20 ms. */
export const SAMPLES_PER_POSITION = 320;

/** New words are heard from a little before the new audio on, and a word's end reaches into the silence behind it: 0.2 s and 0.5 s in full. */
const COMMITTED_GUARD = 10;
const MARGIN_GUARD = 25;

export interface WindowPositions {
  /** Ascending, counted from the window's start. */
  readonly indices: Int32Array;
  /** ln(n) for a position that stands for n: added to the score of its key, it weighs as much as n of them. As long as `indices`. */
  readonly keyBias: Float32Array;
}

/** One position in so many is taken; 1: all. Of no effect on a device, which takes all. */
export interface Strides {
  /** Of committed speech at a window's start. @default 2 */
  readonly committedStride: number;
  /** Of the silent margin, but not where it fills the window up to 30 s. @default 5 */
  readonly marginStride: number;
}

/** A window in positions: first what is committed, then new audio up to `audio`, then the silent margin up to `total`. */
export interface WindowSpans {
  readonly committed: number;
  readonly audio: number;
  readonly total: number;
}

/** All of them, each for itself. */
export const allPositions = (total: number): WindowPositions => ({
  indices: Int32Array.from({ length: total }, (_, i) => i),
  keyBias: new Float32Array(total),
});

export function thinnedPositions({ committed, audio, total }: WindowSpans, { committedStride, marginStride }: Strides): WindowPositions {
  const indices: number[] = [];
  const keyBias: number[] = [];
  const take = (from: number, to: number, stride: number): void => {
    for (let i = from; i < to; i += stride) {
      const count = Math.min(stride, to - i);
      indices.push(i + (count >> 1));
      keyBias.push(Math.log(count));
    }
  };
  const fullFrom = Math.max(0, committed - COMMITTED_GUARD);
  const fullTo = Math.min(total, audio + MARGIN_GUARD);
  take(0, fullFrom, committedStride);
  take(fullFrom, fullTo, 1);
  take(fullTo, total, marginStride);
  return { indices: Int32Array.from(indices), keyBias: Float32Array.from(keyBias) };
}

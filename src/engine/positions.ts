// Which positions of a window go through the model. Where neighbours look alike, in silence and in speech that is there as context only,
// one position stands for several.

import { measureLevel } from '../audio/level.ts';

/** Samples of one encoder position: 20 ms. */
export const SAMPLES_PER_POSITION = 320;

/** A position whose samples all lie below it is silent. */
const SILENCE_PEAK_DBFS = -60;
/** Taken in full: 0.2 s before new audio and before the end of a silence, where a word begins, and 0.5 s behind one that has ended. */
const BEFORE_WORDS = 10;
const BEHIND_WORDS = 25;

/** One position in so many is taken; 1: all. Of no effect on a device, which takes all. */
export interface Strides {
  /** Of committed speech at a window's start. @default 2 */
  readonly committedStride: number;
  /** Of silence inside a window, and of the margin behind it. @default 5 */
  readonly silenceStride: number;
}

export interface WindowPositions {
  /** Ascending, counted from the window's start. */
  readonly indices: Int32Array;
  /** ln(n) for a position that stands for n: added to the score of its key, it weighs as much as n of them. As long as `indices`. */
  readonly keyBias: Float32Array;
}

/** All of them, each for itself. */
export const allPositions = (total: number): WindowPositions => ({
  indices: Int32Array.from({ length: total }, (_, i) => i),
  keyBias: new Float32Array(total),
});

/**
 * @param pcm the window's audio, which the margin follows
 * @param total positions of both
 * @param committed positions at the start whose words are known
 */
export function thinnedPositions(
  pcm: Float32Array,
  { committed, total }: { readonly committed: number; readonly total: number },
  { committedStride, silenceStride }: Strides,
): WindowPositions {
  const strides = new Uint8Array(total).fill(1);
  strides.fill(committedStride, 0, Math.max(0, committed - BEFORE_WORDS));
  for (const { from, to } of silences(pcm, total)) {
    const end = to === total ? to : to - BEFORE_WORDS;
    if (from + BEHIND_WORDS < end) strides.fill(silenceStride, from + BEHIND_WORDS, end);
  }
  const indices: number[] = [];
  const keyBias: number[] = [];
  for (let i = 0; i < total; ) {
    const stride = strides[i] as number;
    let count = 1;
    while (count < stride && strides[i + count] === stride) count++;
    indices.push(i + (count >> 1));
    keyBias.push(Math.log(count));
    i += count;
  }
  return { indices: Int32Array.from(indices), keyBias: Float32Array.from(keyBias) };
}

/** Runs of silent positions, in order. */
function silences(pcm: Float32Array, total: number): { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = [];
  for (let position = 0, from = 0; position <= total; position++) {
    if (position < total && isSilent(pcm, position)) continue;
    if (from < position) runs.push({ from, to: position });
    from = position + 1;
  }
  return runs;
}

const isSilent = (pcm: Float32Array, position: number): boolean =>
  measureLevel(pcm.subarray(position * SAMPLES_PER_POSITION, (position + 1) * SAMPLES_PER_POSITION)).peakDbfs < SILENCE_PEAK_DBFS;

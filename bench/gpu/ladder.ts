// Which number of streams is tried next: doubled until it is too many, then the middle between what was held and what was not. Pure.

export interface Rung {
  readonly streams: number;
  readonly inTime: boolean;
}

/** A number that lies so close above the largest that is held is not worth another rung. */
const CLOSE = 1.15;

/** Null: the answer is known as closely as is asked for. */
export function nextCount(rungs: readonly Rung[], start: number, most: number): number | null {
  if (rungs.length === 0) return Math.min(start, most);
  const held = largestInTime(rungs);
  const failed = Math.min(...rungs.filter(({ inTime }) => !inTime).map(({ streams }) => streams));
  if (failed === Number.POSITIVE_INFINITY) return held >= most ? null : Math.min(2 * held, most);
  const middle = Math.round((held + failed) / 2);
  if (middle <= held || middle >= failed || (held > 0 && failed / held < CLOSE)) return null;
  return middle;
}

/** 0 where none is. */
export const largestInTime = (rungs: readonly Rung[]): number =>
  Math.max(0, ...rungs.filter(({ inTime }) => inTime).map(({ streams }) => streams));

/** Of what is thought to be possible: the next rung is likely too many, and the one after it close to the answer. */
const START_SHARE = 0.6;

export const startCount = (predicted: number): number => Math.max(1, Math.round(START_SHARE * predicted));

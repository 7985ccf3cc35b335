// Divides the time that there is among what is still to be measured. Pure.

export interface Stage {
  readonly name: string;
  /** What it takes where nothing is short; it is given no more. */
  readonly wantedSeconds: number;
  /** With less it would find nothing out. */
  readonly leastSeconds: number;
  /** Nothing is kept for it: it gets what the others leave over. */
  readonly isExtra: boolean;
}

/**
 * Seconds for the first of the stages that are left: all it wants, unless those behind it would not have their least any more. What a
 * stage leaves over goes to those behind it. Null: it is left out, for lack of time.
 */
export function grantSeconds(stages: readonly Stage[], remainingSeconds: number): number | null {
  const [first, ...later] = stages;
  if (first === undefined || remainingSeconds < first.leastSeconds) return null;
  const kept = later.reduce((sum, { isExtra, leastSeconds }) => sum + (isExtra ? 0 : leastSeconds), 0);
  return Math.min(first.wantedSeconds, Math.max(first.leastSeconds, remainingSeconds - kept));
}

// The rule by which a number of streams counts as held, and the one by which a system is tried no further.

export interface StepFigures {
  readonly streams: number;
  readonly refused: number;
  readonly lost: number;
  /** Word-final latency; null where no word came. */
  readonly p95Seconds: number | null;
  readonly werPercent: number | null;
  /** Of the same streams, each alone. */
  readonly referenceWerPercent: number | null;
}

const LATENCY_ALLOWANCE_SECONDS = 2;
const WER_ALLOWANCE_POINTS = 0.5;
const FAR_OUT_SECONDS = 30;
const FAR_OUT_REFUSED = 0.5;

export const latencyBoundSeconds = (chunkSeconds: number): number => chunkSeconds + LATENCY_ALLOWANCE_SECONDS;

/** Whether everybody was served in time, whatever the words were. */
export const isInTime = (step: StepFigures, chunkSeconds: number): boolean =>
  step.refused === 0 && step.lost === 0 && step.p95Seconds !== null && step.p95Seconds < latencyBoundSeconds(chunkSeconds);

/** Nobody refused or lost, words in time, and as few errors as each stream has alone. */
export function isHeld(step: StepFigures, chunkSeconds: number): boolean {
  if (!isInTime(step, chunkSeconds) || step.werPercent === null || step.referenceWerPercent === null) return false;
  return step.werPercent <= step.referenceWerPercent + WER_ALLOWANCE_POINTS + 1e-9;
}

/** More streams would only take time. */
export const isFarOut = (step: StepFigures): boolean =>
  step.p95Seconds === null || step.p95Seconds > FAR_OUT_SECONDS || step.refused > FAR_OUT_REFUSED * step.streams;

/** 0 where none is held. */
export const largestHeld = (steps: readonly { readonly streams: number; readonly held: boolean }[]): number =>
  Math.max(0, ...steps.filter(({ held }) => held).map(({ streams }) => streams));

// How much work the windows of live streams get: all that helps while there is room, and less, for more streams, while there is not.

import { SAMPLE_RATE } from '../core/units.ts';

/** `reduced` is meant for engines that are busy. ARCHITECTURE.md, "Effort", has the word error rates and costs. */
export type Effort = 'full' | 'reduced';

export interface EffortRules {
  /** Committed audio that a window may begin with. */
  readonly leftSamples: number;
  /** Doubtful words are held back this close to a window's end. */
  readonly doubtSamples: number;
  /** Doubtful words that are not held back are searched for. */
  readonly searches: boolean;
}

export const EFFORTS: Readonly<Record<Effort, EffortRules>> = {
  full: { leftSamples: 5 * SAMPLE_RATE, doubtSamples: 3 * SAMPLE_RATE, searches: true },
  reduced: { leftSamples: 5 * SAMPLE_RATE, doubtSamples: 3 * SAMPLE_RATE, searches: false },
};

/** Of any effort: what is kept of the committed audio. */
export const MOST_LEFT_SAMPLES = Math.max(...Object.values(EFFORTS).map(({ leftSamples }) => leftSamples));

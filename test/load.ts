// What an engine says of itself in tests: idle, or idle but for what a test is about.

import type { TranscriberLoad } from '../src/engine/transcriber.ts';

/** Two engines with nothing to do; a final takes 0.15 s of one, a partial 0.1 s. */
export const IDLE_LOAD: TranscriberLoad = {
  engines: 2,
  finalShare: 0,
  partialShare: 0,
  fileShare: 0,
  callers: 1,
  finalShareOfOthers: 0,
  finalSeconds: 0.15,
  partialSeconds: 0.1,
  oldestFinalSeconds: 0,
  finalDelaySeconds: 0,
  silentSeconds: 0,
};

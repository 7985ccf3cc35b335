// How often live sessions may show partials: what the engines can spare once finals are served, shared evenly. No timers, no I/O.

import { SAMPLE_RATE } from '../core/units.ts';
import type { TranscriberLoad } from '../engine/transcriber.ts';

/** Of the engines' time, for the partials of all sessions together. */
const PARTIAL_SHARE = 0.125;
/** Finals taking this share of the engines' time, partials begin to make room; at the second they are gone. */
const [FULL_UNTIL_FINAL_SHARE, NONE_FROM_FINAL_SHARE] = [0.6, 0.75];
/** Text that changes more often than once a second is hard to read. */
const SHORTEST_INTERVAL_SECONDS = 1;
/** The load changes over seconds, while sessions ask with every frame. */
const REFRESH_MS = 200;

/**
 * Seconds of audio between two partials of a session; Infinity where finals need all there is.
 * @param sessions that ask for partials
 */
export function partialIntervalSeconds(load: TranscriberLoad, sessions: number): number {
  const room = (NONE_FROM_FINAL_SHARE - load.finalShare) / (NONE_FROM_FINAL_SHARE - FULL_UNTIL_FINAL_SHARE);
  if (room <= 0) return Number.POSITIVE_INFINITY;
  const budget = PARTIAL_SHARE * Math.min(1, room);
  return Math.max(SHORTEST_INTERVAL_SECONDS, (sessions * load.partialSeconds) / (load.engines * budget));
}

export class PartialPacer {
  readonly #load: () => TranscriberLoad | null;
  readonly #now: () => number;
  #sessions = 0;
  #interval = SHORTEST_INTERVAL_SECONDS;
  #askedMs = Number.NEGATIVE_INFINITY;

  /**
   * @param load of the engines that the sessions share; null while there are none
   * @param now milliseconds of a monotonic clock
   */
  constructor(load: () => TranscriberLoad | null, now: () => number) {
    this.#load = load;
    this.#now = now;
  }

  /** Counts a session that shows partials, until the function returned is called. */
  join(): () => void {
    this.#sessions++;
    let isIn = true;
    return () => {
      if (isIn) this.#sessions--;
      isIn = false;
    };
  }

  /** At most 200 ms old. */
  intervalSeconds(): number {
    const now = this.#now();
    if (now - this.#askedMs >= REFRESH_MS) {
      this.#askedMs = now;
      const load = this.#load();
      this.#interval = load === null ? SHORTEST_INTERVAL_SECONDS : partialIntervalSeconds(load, this.#sessions);
    }
    return this.#interval;
  }

  /** As intervalSeconds. */
  intervalSamples(): number {
    return Math.round(this.intervalSeconds() * SAMPLE_RATE);
  }
}

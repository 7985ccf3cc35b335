// How often live sessions may show partials, and how much work their finals get: what the engines have room for. No timers, no I/O.

import { SAMPLE_RATE } from '../core/units.ts';
import type { TranscriberLoad } from '../engine/transcriber.ts';
import type { Effort } from './effort.ts';
import type { Pace } from './session-types.ts';

/** Of the engines' time, for the partials of all sessions together. */
const PARTIAL_SHARE = 0.125;
/** Finals taking this share of the engines' time, partials begin to make room; at the second they are gone. */
const [FULL_UNTIL_FINAL_SHARE, NONE_FROM_FINAL_SHARE] = [0.6, 0.75];
/** Finals get less work from the first share on, which brings them to two thirds of it, until they are below the second. */
const [REDUCED_FROM_FINAL_SHARE, FULL_BELOW_FINAL_SHARE] = [0.55, 0.3];
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

/** @param before what it was: between the two bounds it stays */
export function effortAt({ finalShare }: TranscriberLoad, before: Effort): Effort {
  if (finalShare >= REDUCED_FROM_FINAL_SHARE) return 'reduced';
  return finalShare < FULL_BELOW_FINAL_SHARE ? 'full' : before;
}

export class Pacer {
  readonly #load: () => TranscriberLoad | null;
  readonly #now: () => number;
  #sessions = 0;
  #interval = SHORTEST_INTERVAL_SECONDS;
  #effort: Effort = 'full';
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
    this.#refresh();
    return this.#interval;
  }

  /** At most 200 ms old. */
  effort(): Effort {
    this.#refresh();
    return this.#effort;
  }

  /** For a session that shows partials, or one that does not. */
  pace(withPartials: boolean): Pace {
    const partialIntervalSamples = withPartials ? Math.round(this.intervalSeconds() * SAMPLE_RATE) : Number.POSITIVE_INFINITY;
    return { partialIntervalSamples, effort: this.effort() };
  }

  #refresh(): void {
    const now = this.#now();
    if (now - this.#askedMs < REFRESH_MS) return;
    this.#askedMs = now;
    const load = this.#load();
    this.#interval = load === null ? SHORTEST_INTERVAL_SECONDS : partialIntervalSeconds(load, this.#sessions);
    this.#effort = load === null ? 'full' : effortAt(load, this.#effort);
  }
}

// How often live sessions may show partials, and how much work their finals get: what the engines have room for. No timers, no I/O.

import { SAMPLE_RATE } from '../core/units.ts';
import type { TranscriberLoad } from '../engine/transcriber.ts';
import type { Effort, Pace } from './session-types.ts';

/** Of the engines' time, for the partials of all sessions together, on an idle machine; it falls to nothing as finals come to take the second share. */
const PARTIAL_SHARE = 0.08;
const NO_PARTIALS_FROM_FINAL_SHARE = 0.5;
/** Finals get less work from the first share on, which brings them to seven eighths of it, until they are below the second: partials stay away. */
const [REDUCED_FROM_FINAL_SHARE, FULL_BELOW_FINAL_SHARE] = [0.75, 0.6];
/** Text that changes more often than once a second is hard to read. */
const SHORTEST_INTERVAL_SECONDS = 1;
/** The load changes over seconds, while sessions ask with every frame. */
const REFRESH_MS = 200;

/**
 * Seconds of audio between two partials of a session; Infinity where finals need all there is.
 * @param sessions of this process that ask for partials; others on the same engines are taken to have as many
 */
export function partialIntervalSeconds(load: TranscriberLoad, sessions: number): number {
  const budget = PARTIAL_SHARE * (1 - load.finalShare / NO_PARTIALS_FROM_FINAL_SHARE);
  if (budget <= 0) return Number.POSITIVE_INFINITY;
  return Math.max(SHORTEST_INTERVAL_SECONDS, (load.callers * sessions * load.partialSeconds) / (load.engines * budget));
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

  /**
   * @param withPartials the session shows them
   * @param isAhead the session is fed faster than speech: nobody waits for it, and what it makes of its audio should not depend on how fast
   */
  pace(withPartials: boolean, isAhead: boolean): Pace {
    const partialIntervalSamples = withPartials ? Math.round(this.intervalSeconds() * SAMPLE_RATE) : Number.POSITIVE_INFINITY;
    return { partialIntervalSamples, effort: isAhead ? 'full' : this.effort() };
  }

  #refresh(): void {
    const now = this.#now();
    if (now - this.#askedMs < REFRESH_MS) return;
    this.#askedMs = now;
    const load = this.#load();
    this.#effort = load === null ? 'full' : effortAt(load, this.#effort);
    this.#interval = load === null ? SHORTEST_INTERVAL_SECONDS : partialIntervalSeconds(load, this.#sessions);
  }
}

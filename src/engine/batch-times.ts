// What a window costs on a device that takes many at once: a run takes a time of its own and some for each window. Pure.

/** Weight that a run keeps with each later one: the last fifty count. */
const MEMORY = 0.98;

/**
 * Fits `ms = fixed + perWindow * windows` to the runs, and tells what a window costs in a full batch. An idle device answers windows one by
 * one and is busy all the same; only what it would take of a full one says how many streams it can follow.
 */
export class BatchTimes {
  readonly #full: number;
  /** Weighted sums over the runs. */
  #n = 0;
  #windows = 0;
  #ms = 0;
  #windowsSquared = 0;
  #windowsMs = 0;

  /** @param full windows of a full batch */
  constructor(full: number) {
    this.#full = full;
  }

  /** Takes note of a run; returns the time that each of its windows would take of a full batch. */
  add(windows: number, ms: number): number {
    this.#n = MEMORY * this.#n + 1;
    this.#windows = MEMORY * this.#windows + windows;
    this.#ms = MEMORY * this.#ms + ms;
    this.#windowsSquared = MEMORY * this.#windowsSquared + windows * windows;
    this.#windowsMs = MEMORY * this.#windowsMs + windows * ms;
    // Never more than it took here, nor less than if a full batch took no longer.
    const share = ms / windows;
    return Math.min(share, Math.max(ms / this.#full, this.#inFullBatch()));
  }

  #inFullBatch(): number {
    const variance = this.#n * this.#windowsSquared - this.#windows ** 2;
    // All runs alike: nothing is known of others.
    if (variance < 1e-9 * this.#windowsSquared * this.#n) return Number.POSITIVE_INFINITY;
    const slope = Math.max(0, (this.#n * this.#windowsMs - this.#windows * this.#ms) / variance);
    const fixed = Math.max(0, (this.#ms - slope * this.#windows) / this.#n);
    return slope + fixed / this.#full;
  }
}

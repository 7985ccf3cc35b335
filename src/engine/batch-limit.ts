// How large a batch may be: a number of windows, and positions that the device's memory holds, which running out of it teaches. Pure.

/** Of what did not fit: a device's allocator is not exact, and a little less would fail again now and then. */
const SHRINK = 0.6;
/** Batches without trouble after which a limit that was learnt is raised a little: what else was on the device may have gone. */
const PATIENCE = 200;
const GROW = 1.1;

export class BatchLimit {
  readonly #maxWindows: number;
  readonly #maxPositions: number;
  #positions: number;
  #successes = 0;

  /** @param maxPositions of all windows of a batch together, each as long as the longest and as often as it has hypotheses */
  constructor(maxWindows: number, maxPositions: number) {
    this.#maxWindows = maxWindows;
    this.#maxPositions = maxPositions;
    this.#positions = maxPositions;
  }

  get positions(): number {
    return this.#positions;
  }

  /** @param positions of each window */
  fits(windows: number, positions: number): boolean {
    return windows <= this.#maxWindows && windows * positions <= this.#positions;
  }

  succeeded(): void {
    if (this.#positions === this.#maxPositions || ++this.#successes < PATIENCE) return;
    this.#successes = 0;
    this.#positions = Math.min(this.#maxPositions, Math.ceil(this.#positions * GROW));
  }

  /** @returns whether smaller batches are left to be tried */
  outOfMemory(windows: number, positions: number): boolean {
    this.#successes = 0;
    this.#positions = Math.min(this.#positions, Math.floor(windows * positions * SHRINK));
    return windows > 1;
  }
}

// Quantiles of word-final latency out of window delays, without a list of a hundred million words.
//
// A final has the words of the 3.4 s since the last one, spoken evenly over that time, and the youngest of them is as old as what a window
// holds back. So a window that came back after d seconds adds words of ages from hold-back + d to hold-back + d + 3.4 s.

/** Both from the benchmark's single stream, whose windows never wait: words final after 3.4 s (median) and 4.8 s (95 %), window 0.2 s. */
export const FINAL_EVERY_SECONDS = 3.4;
const HELD_BACK_SECONDS = 1.45;

const BIN_SECONDS = 0.02;
/** Whatever takes longer counts as this. */
const LONGEST_DELAY_SECONDS = 115;
const BINS = Math.ceil((HELD_BACK_SECONDS + LONGEST_DELAY_SECONDS + FINAL_EVERY_SECONDS) / BIN_SECONDS) + 1;

export class WordLatency {
  /** Changes of the density of words from bin to bin. */
  readonly #changes = new Float64Array(BINS + 1);
  #windows = 0;

  get windows(): number {
    return this.#windows;
  }

  /** @param delaySeconds from when the window's audio was there to its result */
  add(delaySeconds: number): void {
    const youngest = HELD_BACK_SECONDS + Math.min(delaySeconds, LONGEST_DELAY_SECONDS);
    this.#changes[Math.round(youngest / BIN_SECONDS)]! += 1;
    this.#changes[Math.round((youngest + FINAL_EVERY_SECONDS) / BIN_SECONDS)]! -= 1;
    this.#windows++;
  }

  addAll(other: WordLatency): void {
    for (let bin = 0; bin <= BINS; bin++) this.#changes[bin]! += other.#changes[bin]!;
    this.#windows += other.#windows;
  }

  /** Null where there were no windows. @param share 0-1 */
  quantile(share: number): number | null {
    if (this.#windows === 0) return null;
    let total = 0;
    this.#eachBin((words) => {
      total += words;
      return true;
    });
    let sum = 0;
    let found = BINS;
    this.#eachBin((words, bin) => {
      sum += words;
      found = bin;
      return sum < share * total;
    });
    return found * BIN_SECONDS;
  }

  /** Until the visitor has enough. */
  #eachBin(visit: (words: number, bin: number) => boolean): void {
    let words = 0;
    for (let bin = 0; bin < BINS; bin++) {
      words += this.#changes[bin]!;
      if (!visit(words, bin)) return;
    }
  }
}

// When was a sample received? Remembers the arrival of pushed audio, for the lag of finals.

/** Frames shorter than this share an entry, so that tiny frames don't cost memory: 20 ms. */
const ENTRY_SAMPLES = 320;

interface Entry {
  /** Position after the entry's last sample. */
  end: number;
  samples: number;
  atMs: number;
}

export class ReceiptClock {
  #entries: Entry[] = [];
  #end = 0;

  received(sampleCount: number, atMs: number): void {
    if (sampleCount === 0) return;
    this.#end += sampleCount;
    const last = this.#entries.at(-1);
    if (last !== undefined && last.samples + sampleCount <= ENTRY_SAMPLES) {
      last.samples += sampleCount;
      last.end = this.#end;
      last.atMs = atMs;
    } else this.#entries.push({ end: this.#end, samples: sampleCount, atMs });
  }

  /** Arrival of the last sample before `position`, to 20 ms; asked with positions that never go back: older entries are forgotten. */
  arrivalMs(position: number): number | undefined {
    let first = 0;
    while (first < this.#entries.length && this.#entries[first]!.end < position) first++;
    if (first > 0) this.#entries = this.#entries.slice(first);
    return this.#entries[0]?.atMs;
  }
}

// Events by time, earliest first: a binary heap in typed arrays. A day of 10,000 streams has a hundred million of them.

/** Each event is a number that means something to its owner. Of events at the same time the order is fixed, but not told. */
export class EventQueue {
  #times = new Float64Array(1024);
  #events = new Int32Array(1024);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Time of the earliest event; Infinity where there is none. */
  get nextTime(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : this.#times[0]!;
  }

  /** The earliest event. Not to be asked of an empty queue. */
  get next(): number {
    return this.#events[0]!;
  }

  push(time: number, event: number): void {
    if (this.#size === this.#times.length) this.#grow();
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#times[parent]! <= time) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#place(at, time, event);
  }

  /** Takes the earliest event out. */
  drop(): void {
    const last = --this.#size;
    if (last > 0) this.#sink(this.#times[last]!, this.#events[last]!);
  }

  /** The earliest event takes place again at another time: half the work of drop and push. */
  postpone(time: number): void {
    this.#sink(time, this.#events[0]!);
  }

  /** Puts an event in the place of the first one, and down to where it belongs. */
  #sink(time: number, event: number): void {
    const size = this.#size;
    const times = this.#times;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && times[child + 1]! < times[child]!) child++;
      if (times[child]! >= time) break;
      this.#move(child, at);
      at = child;
    }
    this.#place(at, time, event);
  }

  #move(from: number, to: number): void {
    this.#times[to] = this.#times[from]!;
    this.#events[to] = this.#events[from]!;
  }

  #place(at: number, time: number, event: number): void {
    this.#times[at] = time;
    this.#events[at] = event;
  }

  #grow(): void {
    const times = new Float64Array(2 * this.#times.length);
    times.set(this.#times);
    this.#times = times;
    const events = new Int32Array(2 * this.#events.length);
    events.set(this.#events);
    this.#events = events;
  }
}

// WhisperASR replicas as queues: several engines each, first come first served, and Serve's choice between two replicas.

import type { Random } from './random.ts';

/** One replica. Windows never overtake each other, so the end of each is known when it comes. */
export class Recogniser {
  /** When each engine will be free. */
  readonly #freeAt: Float64Array;
  /** Windows that had to wait when they came, oldest first: when they came, and when they start. */
  #waiting: { readonly fromSeconds: number; readonly untilSeconds: number }[] = [];
  #waitingFrom = 0;

  constructor(engines: number) {
    this.#freeAt = new Float64Array(engines);
  }

  /** When an engine will be free. */
  get nextFree(): number {
    return this.#freeAt[this.#soonest()]!;
  }

  /** Takes a window. @returns when it starts */
  submit(nowSeconds: number, engineSeconds: number): number {
    const engine = this.#soonest();
    const startSeconds = Math.max(nowSeconds, this.#freeAt[engine]!);
    this.#freeAt[engine] = startSeconds + engineSeconds;
    if (startSeconds > nowSeconds) this.#waiting.push({ fromSeconds: nowSeconds, untilSeconds: startSeconds });
    return startSeconds;
  }

  /** How long the window that waits longest has waited; 0 where none waits. */
  oldestWaitSeconds(nowSeconds: number): number {
    while (this.#waitingFrom < this.#waiting.length && this.#waiting[this.#waitingFrom]!.untilSeconds <= nowSeconds) this.#waitingFrom++;
    if (this.#waitingFrom === this.#waiting.length) {
      this.#waiting = [];
      this.#waitingFrom = 0;
      return 0;
    }
    return nowSeconds - this.#waiting[this.#waitingFrom]!.fromSeconds;
  }

  #soonest(): number {
    let soonest = 0;
    for (let engine = 1; engine < this.#freeAt.length; engine++) {
      if (this.#freeAt[engine]! < this.#freeAt[soonest]!) soonest = engine;
    }
    return soonest;
  }
}

/** Of two drawn at random the less busy, as Serve's power-of-two-choices router. Serve goes by windows in flight, this by waiting time. */
export function choose(recognisers: readonly Recogniser[], random: Random): Recogniser {
  const count = recognisers.length;
  const first = recognisers[random.index(count)]!;
  if (count === 1) return first;
  const second = recognisers[random.index(count)]!;
  return second.nextFree < first.nextFree ? second : first;
}

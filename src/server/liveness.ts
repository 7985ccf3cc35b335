// Whether a stream's client is still there (pings) and still has something to say (idle time). Pure: the caller brings the clock.

export type Verdict = 'fine' | 'ping' | 'dead' | 'idle';

export class Liveness {
  readonly #heartbeatMs: number;
  readonly #idleMs: number;
  #heardMs: number;
  #pingedMs: number;
  /** Something came since the last ping. */
  #alive = true;

  /** All times in milliseconds of one monotonic clock. */
  constructor(limits: { readonly heartbeatMs: number; readonly idleMs: number }, nowMs: number) {
    this.#heartbeatMs = limits.heartbeatMs;
    this.#idleMs = limits.idleMs;
    this.#heardMs = this.#pingedMs = nowMs;
  }

  /** A message came: the client is there, and not idle. */
  heard(nowMs: number): void {
    this.#alive = true;
    this.#heardMs = nowMs;
  }

  /** A pong came: the client is there. */
  answered(): void {
    this.#alive = true;
  }

  /** @returns `ping`: send one now; `dead`: the last ping went unanswered; `idle`: nothing was said for too long */
  check(nowMs: number): Verdict {
    if (nowMs - this.#pingedMs >= this.#heartbeatMs) {
      if (!this.#alive) return 'dead';
      this.#alive = false;
      this.#pingedMs = nowMs;
      return 'ping';
    }
    return nowMs - this.#heardMs >= this.#idleMs ? 'idle' : 'fine';
  }
}

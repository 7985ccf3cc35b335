// Bounds how many live decoders may wait for bytes at once: each holds a thread of libuv's pool while it waits.

import { WhisperError } from '../core/errors.ts';

/**
 * FFmpeg reads where it is called, in libuv's pool, which file system, DNS and zlib share. The pool has UV_THREADPOOL_SIZE
 * threads (4 by default, at most 1024; it costs nothing to have more), fixed when it is first used. Were all of them to wait
 * for clients, the process would stand still: leave some free.
 */
export class ReaderSlots {
  readonly limit: number;
  #used = 0;

  /** @param limit the pool's threads less those to keep free */
  constructor(limit: number) {
    this.limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** @returns gives the slot back; idempotent @throws WhisperError `overloaded` */
  acquire(): () => void {
    if (this.#used >= this.limit) {
      throw new WhisperError('overloaded', `All ${this.limit} places for live container audio are taken.`, { retryAfterSeconds: 5 });
    }
    this.#used++;
    let held = true;
    return () => {
      if (held) this.#used--;
      held = false;
    };
  }
}

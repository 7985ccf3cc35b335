// Calls to a worker thread that wait for their answers, by number. The engine and the speech detector share it.

import type { WhisperError } from '../core/errors.ts';

export interface PendingCall<T> {
  resolve(value: T): void;
  reject(error: WhisperError): void;
}

export class PendingCalls<T> {
  readonly #calls = new Map<number, PendingCall<T>>();
  readonly #onIdle: () => void;
  #nextId = 0;

  /** @param onIdle called each time that the last call has left, before its promise settles */
  constructor(onIdle: () => void = () => undefined) {
    this.#onIdle = onIdle;
  }

  get size(): number {
    return this.#calls.size;
  }

  /**
   * @param send posts the call to the thread
   * @param onAbort the call has left when the signal aborts: tells the thread, and says what the promise rejects with
   */
  open(send: (id: number) => void, onAbort: (id: number, signal: AbortSignal) => WhisperError, signal?: AbortSignal): Promise<T> {
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      const abort = (): void => this.take(id)?.reject(onAbort(id, signal as AbortSignal));
      const forget = (): void => signal?.removeEventListener('abort', abort);
      signal?.addEventListener('abort', abort, { once: true });
      this.#calls.set(id, {
        resolve(value) {
          forget();
          resolve(value);
        },
        reject(error) {
          forget();
          reject(error);
        },
      });
      send(id);
    });
  }

  /** Removes a call to settle it; undefined for one that has left. */
  take(id: number): PendingCall<T> | undefined {
    const call = this.#calls.get(id);
    if (call === undefined) return undefined;
    this.#calls.delete(id);
    if (this.#calls.size === 0) this.#onIdle();
    return call;
  }

  rejectAll(error: WhisperError): void {
    for (const id of [...this.#calls.keys()]) this.take(id)?.reject(error);
  }
}

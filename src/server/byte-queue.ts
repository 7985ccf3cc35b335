// Bytes pushed on one side and pulled on the other, with a bound that the pushing side can feel.

export class ByteQueue implements AsyncIterable<Uint8Array> {
  readonly #maxBytes: number;
  readonly #chunks: Uint8Array[] = [];
  #queuedBytes = 0;
  #state: 'open' | 'ended' | 'closed' = 'open';
  /** The reader is waiting: everything pushed so far has been used. */
  #starved = false;
  readonly #waiting: { readonly until: () => boolean; readonly resolve: () => void }[] = [];

  /** @param maxBytes above this, push returns a promise; nothing is refused */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** @returns a promise when the queue is over its bound, resolved when it is down to half */
  push(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#state !== 'open' || bytes.length === 0) return undefined;
    this.#chunks.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#starved = false;
    this.#settle();
    return this.#queuedBytes > this.#maxBytes ? this.#when(() => this.#queuedBytes <= this.#maxBytes / 2) : undefined;
  }

  /** Resolves when the reader has used everything and asks for more, or the queue is closed. */
  drained(): Promise<void> {
    return this.#when(() => this.#starved);
  }

  /** The reader gets what is queued, then the end. */
  end(): void {
    if (this.#state === 'open') this.#state = 'ended';
    this.#settle();
  }

  /** The reader gets the end at once; what is queued is dropped and whoever waits goes on. Idempotent. */
  close(): void {
    this.#state = 'closed';
    this.#chunks.length = 0;
    this.#queuedBytes = 0;
    this.#settle();
  }

  /** For one reader. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    while (true) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.length;
        this.#settle();
        yield chunk;
      } else if (this.#state === 'open') {
        this.#starved = true;
        this.#settle();
        await this.#when(() => this.#chunks.length > 0 || this.#state !== 'open');
      } else {
        return;
      }
    }
  }

  #when(until: () => boolean): Promise<void> {
    if (until() || this.#state === 'closed') return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ until, resolve }));
  }

  #settle(): void {
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      const waiting = this.#waiting[i];
      if (waiting === undefined || !(this.#state === 'closed' || waiting.until())) continue;
      this.#waiting.splice(i, 1);
      waiting.resolve();
    }
  }
}

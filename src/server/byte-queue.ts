// Bytes pushed on one side and pulled on the other, with a bound that the pushing side can feel.

/** A queued chunk costs this much beside its bytes: a million chunks of one byte are not one megabyte. */
const CHUNK_OVERHEAD_BYTES = 128;

export class ByteQueue implements AsyncIterable<Uint8Array> {
  readonly #maxBytes: number;
  readonly #chunks: Uint8Array[] = [];
  /** Overhead included. */
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
    this.#queuedBytes += bytes.length + CHUNK_OVERHEAD_BYTES;
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

  /** For one reader, which gets all that is queued in one piece. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    while (true) {
      if (this.#chunks.length > 0) {
        const [first, ...others] = this.#chunks.splice(0);
        this.#queuedBytes = 0;
        this.#settle();
        if (first !== undefined) yield others.length === 0 ? first : Buffer.concat([first, ...others]);
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

// FFmpeg's input straight from an async iterable, one chunk at a time and only when FFmpeg asks for it.

import { AVERROR_EOF, AVERROR_EXIT, AVFMT_FLAG_CUSTOM_IO } from 'node-av/constants';
import { type FormatContext, IOContext } from 'node-av/lib';
import type { ByteSource } from './byte-source.ts';

/** Small because node-av 6.1.1 never frees it: with each stream so many bytes are lost. */
const BUFFER_BYTES = 1024;

/** The iterable feels the backpressure; of the bytes only one chunk is kept. Not seekable. */
export class LiveSource implements ByteSource {
  error: unknown = null;
  onStarve: () => void = () => {};
  readonly #io = new IOContext();
  readonly #iterator: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array;
  #ended = false;
  #endWait: () => void = () => {};
  #closed = false;

  /** @param head bytes already taken from the iterator */
  constructor(head: Uint8Array, iterator: AsyncIterator<Uint8Array>) {
    this.#chunk = head;
    this.#iterator = iterator;
    this.#io.allocContextWithCallbacks(BUFFER_BYTES, 0, (size) => this.#read(size));
  }

  attach(context: FormatContext) {
    context.pb = this.#io;
    context.setFlags(AVFMT_FLAG_CUSTOM_IO);
    // Matches no protocol: a file that names another one cannot have it opened.
    return { url: '', options: { protocol_whitelist: 'none' } };
  }

  stop(): void {
    this.#ended = true;
    this.#chunk = new Uint8Array(0);
    this.#endWait();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.stop();
    this.#io.freeContext();
  }

  async #read(size: number): Promise<Buffer | number> {
    while (this.#chunk.length === 0 && !this.#ended) await this.#pull();
    if (this.error !== null) return AVERROR_EXIT;
    if (this.#chunk.length === 0) return AVERROR_EOF;
    const part = this.#chunk.subarray(0, size);
    this.#chunk = this.#chunk.subarray(part.length);
    return Buffer.from(part.buffer, part.byteOffset, part.byteLength);
  }

  /** Ends with the next chunk or with stop(), whichever comes first. Not a Promise.race: that would retain every chunk. */
  #pull(): Promise<void> {
    return new Promise((resolve) => {
      this.#endWait = resolve;
      this.#iterator.next().then(
        (next) => {
          if (next.done) this.#ended = true;
          else if (!this.#ended) this.#chunk = next.value;
          resolve();
        },
        (error: unknown) => {
          this.error = error;
          this.#ended = true;
          resolve();
        },
      );
      this.onStarve();
    });
  }
}

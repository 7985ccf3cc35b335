// Where FFmpeg gets its bytes: the contract of the live and the spooled source.

import type { FormatContext } from 'node-av/lib';

export interface ByteSource {
  /** What the iterable threw, or null; it goes before FFmpeg's own error. */
  readonly error: unknown;
  /** Called when FFmpeg waits for bytes that have not arrived; a file never calls it. */
  onStarve: () => void;
  /** Sets what the context must know before it is opened; returns the URL to open and the options that go with it. */
  attach(context: FormatContext): { readonly url: string; readonly options: Readonly<Record<string, string | number>> };
  /** Makes a read in progress end at once, and all later ones. */
  stop(): void;
  /** After the format context is closed. Idempotent. */
  close(): Promise<void>;
}

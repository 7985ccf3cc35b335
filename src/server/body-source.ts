// A request's body as it arrives, with a limit on its size and on the client's silence. Nothing is kept.

import type { Readable } from 'node:stream';
import { WhisperError } from '../core/errors.ts';

export interface BodyLimits {
  readonly maxBytes: number;
  /** The longest wait for the next bytes. */
  readonly idleMs: number;
  /** Its reason is thrown. */
  readonly signal: AbortSignal;
}

/**
 * The stream stays usable when reading stops early: the answer still has to go out on its socket.
 * @throws WhisperError `payload_too_large`, `idle_timeout`; the signal's reason
 */
export async function* readBody(stream: Readable, limits: BodyLimits): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
  let byteCount = 0;
  try {
    while (true) {
      const step = await nextWithin(iterator.next(), limits);
      if (step.done === true) return;
      byteCount += step.value.length;
      if (byteCount > limits.maxBytes) {
        throw new WhisperError('payload_too_large', `expected at most ${limits.maxBytes} bytes, got more`);
      }
      yield step.value;
    }
  } finally {
    // Not awaited: it waits for the bytes that did not come. What it has to say was said by next().
    iterator.return?.().catch(() => undefined);
  }
}

/** The promise's value, unless the client is silent for too long or the signal aborts. */
export async function nextWithin<T>(promise: Promise<T>, { idleMs, signal }: Pick<BodyLimits, 'idleMs' | 'signal'>): Promise<T> {
  signal.throwIfAborted();
  let stop = (): void => undefined;
  const stopped = new Promise<never>((_resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    const timer = setTimeout(() => reject(new WhisperError('idle_timeout', `expected more of the body within ${idleMs / 1000} s`)), idleMs);
    signal.addEventListener('abort', onAbort, { once: true });
    stop = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
  });
  try {
    return await Promise.race([promise, stopped]);
  } finally {
    stop();
  }
}

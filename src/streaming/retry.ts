// Repeats work that failed for a passing reason, after a growing pause.

import { setTimeout as delay } from 'node:timers/promises';
import { toWhisperError } from '../core/errors.ts';

/** Waits; rejects when the signal aborts. */
export type Sleep = (durationMs: number, signal: AbortSignal) => Promise<unknown>;

export const sleepOnTimer: Sleep = (durationMs, signal) => delay(durationMs, undefined, { signal });

const PASSING_CODES: ReadonlySet<string> = new Set(['overloaded', 'internal']);

/**
 * @param pausesMs one retry after each
 * @throws WhisperError the last failure, or the signal's reason (`cancelled` where it gives none)
 */
export async function withRetries<T>(work: () => Promise<T>, pausesMs: readonly number[], signal: AbortSignal, sleep: Sleep): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      signal.throwIfAborted();
      return await work();
    } catch (cause) {
      // Whoever aborted may have said why (a shutdown, a limit): that is the error, not what the interrupted work made of it.
      if (signal.aborted) throw toWhisperError(signal.reason);
      const error = toWhisperError(cause);
      const pauseMs = pausesMs[attempt];
      if (pauseMs === undefined || !PASSING_CODES.has(error.code)) throw error;
      await sleep(Math.max(pauseMs, (error.retryAfterSeconds ?? 0) * 1000), signal).catch(() => {
        throw toWhisperError(signal.reason);
      });
    }
  }
}

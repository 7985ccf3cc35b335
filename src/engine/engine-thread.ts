// One engine on a thread of its own, seen from the main thread: what it is asked, what it answers, how it ends.

import { on, once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { type ErrorCode, WhisperError } from '../core/errors.ts';
import type { EngineMessage, EngineReply, WindowCost } from './engine-messages.ts';
import { PendingCalls } from './pending-calls.ts';
import type { TranscribeRequest, TranscribeResult } from './transcriber.ts';

export interface EngineAnswer {
  readonly result: TranscribeResult;
  readonly cost: WindowCost;
}

export class EngineThread {
  /** The languages that the loaded model knows. */
  readonly languages: readonly string[];
  readonly #worker: Worker;
  readonly #calls = new PendingCalls<EngineAnswer>(() => this.#worker.unref());
  /** Why nothing is answered any more. */
  #failure: WhisperError | null = null;
  #onFailure: ((error: WhisperError) => void) | null = null;
  #onOutOfMemory: (() => void) | null = null;
  #closing: Promise<void> | null = null;
  #hasExited = false;

  /** @param worker says that it is ready, as `openEngineThread` has seen */
  constructor(worker: Worker, languages: readonly string[]) {
    this.#worker = worker;
    this.languages = languages;
    worker.on('message', (reply: EngineReply) => this.#settle(reply));
    worker.on('error', (cause) => this.#fail(engineFailed(cause)));
    worker.on('exit', () => {
      this.#hasExited = true;
      this.#fail(new WhisperError('internal', "The engine's thread ended."));
    });
    // The process may end while the engine idles; requests that run hold it by their promises' owners.
    worker.unref();
  }

  /** The listener is told once when the thread ends unasked, before what runs is rejected; at once where it has ended. */
  whenFailed(listener: (error: WhisperError) => void): void {
    this.#onFailure = listener;
    if (this.#failure && this.#closing === null) listener(this.#failure);
  }

  /** The listener is told each time that a batch did not fit into the device's memory. */
  whenOutOfMemory(listener: () => void): void {
    this.#onOutOfMemory = listener;
  }

  /** @param request the buffer of its samples moves to the thread */
  run(request: TranscribeRequest, signal?: AbortSignal): Promise<EngineAnswer> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (signal?.aborted) return Promise.reject(cancelled());
    return this.#calls.open(
      (id) => {
        this.#worker.ref();
        this.#post({ kind: 'transcribe', id, request }, [request.pcm.buffer as ArrayBuffer]);
      },
      (id) => {
        this.#post({ kind: 'cancel', id });
        return cancelled();
      },
      signal,
    );
  }

  /** Gives up what waits inside, lets the pass that runs end, and resolves when the thread has ended; idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#hasExited) return;
    // Not events.once, which an error before the exit would reject.
    const exited = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    this.#worker.ref();
    this.#post({ kind: 'close' });
    await exited;
  }

  #post(message: EngineMessage, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #settle(reply: EngineReply): void {
    if (reply.kind === 'out-of-memory') this.#onOutOfMemory?.();
    if (reply.kind === 'result') this.#calls.take(reply.id)?.resolve({ result: reply.result, cost: reply.cost });
    if (reply.kind === 'failed') this.#calls.take(reply.id)?.reject(asError(reply));
  }

  #fail(error: WhisperError): void {
    if (this.#failure) return;
    this.#failure = error;
    if (this.#closing === null) this.#onFailure?.(error);
    this.#calls.rejectAll(error);
  }
}

/**
 * Resolves when the engine's model is loaded.
 * @param worker speaks as `engine-worker` does
 * @param onMessage told in words of long work, such as building graphs
 */
export async function openEngineThread(worker: Worker, onMessage?: (message: string) => void): Promise<EngineThread> {
  return new EngineThread(worker, await whenReady(worker, onMessage));
}

/** All of them or none: where one cannot be opened, the others are closed. */
export async function openAllThreads(opening: readonly Promise<EngineThread>[]): Promise<EngineThread[]> {
  try {
    return await Promise.all(opening);
  } catch (error) {
    await Promise.allSettled(opening.map(async (thread) => (await thread).close()));
    throw error;
  }
}

export const cancelled = (): WhisperError => new WhisperError('cancelled', 'The request was cancelled.');

/** The languages that the loaded model knows. */
async function whenReady(worker: Worker, onMessage?: (message: string) => void): Promise<readonly string[]> {
  const stop = new AbortController();
  const { signal } = stop;
  try {
    const ended = once(worker, 'exit', { signal }).then(([exitCode]) => {
      throw new WhisperError('internal', `The engine's thread ended with code ${exitCode} while loading.`);
    });
    ended.catch(() => {}); // the loser of the race is aborted below
    const messages = on(worker, 'message', { signal }) as AsyncIterableIterator<[EngineReply]>;
    for (;;) {
      const next = await Promise.race([messages.next(), ended]);
      const [reply] = next.value as [EngineReply];
      if (reply.kind === 'starting') onMessage?.(reply.message);
      if (reply.kind === 'broken') throw asError(reply);
      if (reply.kind === 'ready') return reply.languages;
    }
  } catch (cause) {
    throw cause instanceof WhisperError ? cause : engineFailed(cause);
  } finally {
    stop.abort();
  }
}

const engineFailed = (cause: unknown): WhisperError => new WhisperError('internal', 'The engine failed.', { cause });

const asError = ({ code, message }: { code: ErrorCode; message: string }): WhisperError =>
  code === 'internal' ? engineFailed(message) : new WhisperError(code, message);

// The Transcriber that computes in this process, on a thread of its own.

import { on, once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { type ErrorCode, WhisperError } from '../core/errors.ts';
import type { ModelConfig } from '../model/config.ts';
import type { EngineMessage, EngineReply } from './engine-messages.ts';
import type { EngineWorkerData } from './engine-worker.ts';
import { PendingCalls } from './pending-calls.ts';
import { spawnWorker } from './spawn-worker.ts';
import type { ModelInfo, TranscribeRequest, TranscribeResult, Transcriber } from './transcriber.ts';

export interface LocalTranscriberOptions extends EngineWorkerData {
  /** Most windows that wait or run; more are refused as `overloaded`. */
  readonly maxQueue: number;
}

export interface TranscriberListeners {
  /** Told in words of long work, such as building graphs. */
  readonly onMessage?: ((message: string) => void) | undefined;
  /** Told once when the engine's thread died: every request is refused from then on. */
  readonly onFailure?: ((error: WhisperError) => void) | undefined;
}

/** Resolves when the model is loaded. */
export async function createLocalTranscriber(options: LocalTranscriberOptions, listeners: TranscriberListeners = {}): Promise<Transcriber> {
  const { maxQueue, ...workerData } = options;
  return connectTranscriber(spawnWorker('engine-worker', workerData), options.model.config, maxQueue, listeners);
}

/** The same on a thread that was started elsewhere and speaks as `engine-worker` does. */
export async function connectTranscriber(
  worker: Worker,
  { name, multilingual }: Pick<ModelConfig, 'name' | 'multilingual'>,
  maxQueue: number,
  { onMessage, onFailure }: TranscriberListeners = {},
): Promise<Transcriber> {
  const languages = await whenReady(worker, onMessage);
  const info = { name, multilingual, languages: multilingual ? languages : ['en'] };
  return new LocalTranscriber(worker, info, maxQueue, onFailure);
}

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

class LocalTranscriber implements Transcriber {
  readonly info: ModelInfo;
  readonly #worker: Worker;
  readonly #maxQueue: number;
  readonly #onFailure: ((error: WhisperError) => void) | undefined;
  readonly #pending = new PendingCalls<TranscribeResult>(() => {
    this.#worker.unref();
    this.#onIdle?.();
  });
  /** Why no more requests are taken. */
  #refusal: WhisperError | null = null;
  #closing: Promise<void> | null = null;
  #hasExited = false;
  #onIdle: (() => void) | null = null;

  constructor(worker: Worker, info: ModelInfo, maxQueue: number, onFailure?: (error: WhisperError) => void) {
    this.info = info;
    this.#worker = worker;
    this.#maxQueue = maxQueue;
    this.#onFailure = onFailure;
    worker.on('message', (reply: EngineReply) => this.#settle(reply));
    worker.on('error', (cause) => this.#fail(engineFailed(cause)));
    worker.on('exit', () => {
      this.#hasExited = true;
      this.#fail(new WhisperError('internal', "The engine's thread ended."));
    });
    // The process may end while the engine idles; pending requests hold it by their promises' owners.
    worker.unref();
  }

  transcribe(request: TranscribeRequest, signal?: AbortSignal): Promise<TranscribeResult> {
    if (this.#refusal) return Promise.reject(this.#refusal);
    if (signal?.aborted) return Promise.reject(cancelled());
    if (this.#pending.size >= this.#maxQueue) {
      const message = `The engine's queue is full: ${this.#maxQueue} windows wait.`;
      return Promise.reject(new WhisperError('overloaded', message, { retryAfterSeconds: 1 }));
    }
    return this.#pending.open(
      (id) => {
        this.#worker.ref();
        // A copy: the caller's buffer stays its own, and a view would drag its whole buffer along.
        const pcm = request.pcm.slice();
        this.#post({ kind: 'transcribe', id, request: { ...request, pcm } }, [pcm.buffer]);
      },
      (id) => {
        this.#post({ kind: 'cancel', id });
        return cancelled();
      },
      signal,
    );
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#refusal ??= new WhisperError('going_away', 'The engine is shutting down.');
    if (this.#pending.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    if (this.#hasExited) return;
    const exited = once(this.#worker, 'exit');
    this.#worker.ref();
    this.#post({ kind: 'close' });
    await exited;
  }

  #post(message: EngineMessage, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #settle(reply: EngineReply): void {
    if (reply.kind === 'result') this.#pending.take(reply.id)?.resolve(reply.result);
    if (reply.kind === 'failed') this.#pending.take(reply.id)?.reject(asError(reply));
  }

  #fail(error: WhisperError): void {
    if (this.#refusal === null) this.#onFailure?.(error);
    this.#refusal ??= error;
    this.#pending.rejectAll(error);
  }
}

const cancelled = (): WhisperError => new WhisperError('cancelled', 'The request was cancelled.');

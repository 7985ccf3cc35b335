// The Transcriber that computes in this process: a queue of windows before some engines, each on a thread of its own.

import type { Worker } from 'node:worker_threads';
import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import type { ModelConfig } from '../model/config.ts';
import type { WindowCost } from './engine-messages.ts';
import { cancelled, type EngineAnswer, type EngineThread, openAllThreads, openEngineThread } from './engine-thread.ts';
import { engineSeconds, LoadMeter } from './load-meter.ts';
import { PendingCalls } from './pending-calls.ts';
import type { ModelInfo, Priority, TranscribeRequest, TranscribeResult, Transcriber, TranscriberLoad } from './transcriber.ts';
import { type WaitingWindow, WindowQueue, type WindowQueueOptions } from './window-queue.ts';

export interface LocalTranscriberOptions extends WindowQueueOptions {
  /** Engine time of one final, as the warm-up took it: what `load()` tells before there was any. @default 0 */
  readonly warmUpSeconds?: number;
  /** A steady clock. @default performance.now */
  readonly nowMs?: () => number;
}

/** What became of one window. */
export interface WindowObservation {
  readonly priority: Priority;
  readonly outcome: 'done' | 'failed' | 'refused' | 'cancelled';
  readonly audioSeconds: number;
  /** From submission to its start on an engine, or to the end where it never started. */
  readonly waitSeconds: number;
  /** Time that it took of an engine; 0 unless it is done. */
  readonly engineSeconds: number;
  /** Null unless it is done. */
  readonly cost: WindowCost | null;
}

export interface TranscriberListeners {
  /** Told in words of long work, such as building graphs. */
  readonly onMessage?: ((message: string) => void) | undefined;
  /** Told once when an engine's thread died: every request is refused from then on. */
  readonly onFailure?: ((error: WhisperError) => void) | undefined;
  /** Told of every window when it leaves. */
  readonly onWindow?: ((observation: WindowObservation) => void) | undefined;
  /** Told each time that a batch did not fit into the device's memory and was divided. */
  readonly onOutOfMemory?: (() => void) | undefined;
  /** Told how many windows wait, when that may have changed. */
  readonly onQueue?: ((waitingCount: number) => void) | undefined;
}

type Model = Pick<ModelConfig, 'name' | 'multilingual'>;

/** A Transcriber over threads that are open, at least one; it closes them. */
export function transcriberOver(
  threads: readonly EngineThread[],
  { name, multilingual }: Model,
  options: LocalTranscriberOptions,
  listeners: TranscriberListeners = {},
): Transcriber {
  const languages = multilingual ? (threads[0]?.languages ?? []) : ['en'];
  return new LocalTranscriber(threads, { name, multilingual, languages }, options, listeners);
}

/** The same over workers that were started elsewhere and speak as `engine-worker` does. */
export async function connectTranscriber(
  workers: readonly Worker[],
  model: Model,
  options: LocalTranscriberOptions,
  listeners: TranscriberListeners = {},
): Promise<Transcriber> {
  const threads = await openAllThreads(workers.map((worker) => openEngineThread(worker, listeners.onMessage)));
  return transcriberOver(threads, model, options, listeners);
}

interface Window extends WaitingWindow {
  readonly id: number;
  request: TranscribeRequest;
  readonly audioSeconds: number;
  readonly signal: AbortSignal | undefined;
  /** Null while it waits. */
  startedSeconds: number | null;
}

class LocalTranscriber implements Transcriber {
  readonly info: ModelInfo;
  readonly #threads: readonly EngineThread[];
  readonly #options: LocalTranscriberOptions;
  readonly #listeners: TranscriberListeners;
  readonly #queue: WindowQueue<Window>;
  readonly #meter: LoadMeter;
  /** What each thread runs. */
  readonly #running: readonly Record<Priority, number>[];
  /** What waits or runs. */
  readonly #calls = new PendingCalls<TranscribeResult>(() => this.#onIdle?.());
  readonly #nowMs: () => number;
  #expiry: NodeJS.Timeout | undefined;
  /** Why no more requests are taken. */
  #refusal: WhisperError | null = null;
  #closing: Promise<void> | null = null;
  #onIdle: (() => void) | null = null;

  constructor(threads: readonly EngineThread[], info: ModelInfo, options: LocalTranscriberOptions, listeners: TranscriberListeners) {
    this.info = info;
    this.#threads = threads;
    this.#options = options;
    this.#listeners = listeners;
    this.#queue = new WindowQueue(options);
    this.#meter = new LoadMeter(threads.length, options.warmUpSeconds ?? 0);
    this.#running = threads.map(() => ({ final: 0, partial: 0, file: 0 }));
    this.#nowMs = options.nowMs ?? (() => performance.now());
    for (const thread of threads) {
      thread.whenFailed((error) => this.#fail(error));
      thread.whenOutOfMemory(() => listeners.onOutOfMemory?.());
    }
  }

  load(): TranscriberLoad {
    const now = this.#nowSeconds();
    return this.#meter.load(now, this.#queue.oldestFinalSeconds(now));
  }

  transcribe(request: TranscribeRequest, signal?: AbortSignal): Promise<TranscribeResult> {
    if (this.#refusal) return Promise.reject(this.#refusal);
    if (signal?.aborted) return Promise.reject(cancelled());
    const { owner = '', priority = 'final' } = request;
    let window: Window;
    return this.#calls.open(
      (id) => {
        const audioSeconds = request.pcm.length / SAMPLE_RATE;
        window = { id, owner, priority, request, audioSeconds, signal, submittedSeconds: this.#nowSeconds(), startedSeconds: null };
        this.#submit(window);
      },
      () => {
        // One that runs hears of the abort from its thread.
        if (this.#queue.remove(window)) this.#observe(window, 'cancelled');
        this.#pump();
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
    if (this.#calls.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    clearTimeout(this.#expiry);
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }

  #submit(window: Window): void {
    this.#expire();
    const runningCount = this.#running.reduce((sum, { final, partial, file }) => sum + final + partial + file, 0);
    const refused = this.#queue.add(window, runningCount);
    if (refused) this.#refuse(refused, `The engine's queue is full: ${this.#options.maxQueue} windows wait.`);
    if (refused === window) return;
    // A copy: the caller's buffer stays its own, and a view would drag its whole buffer along to the thread.
    window.request = { ...window.request, pcm: window.request.pcm.slice() };
    this.#pump();
  }

  /** Starts what can start. */
  #pump(): void {
    this.#expire();
    for (;;) {
      const next = this.#queue.next(this.#running, this.#nowSeconds());
      if (next === null) break;
      this.#start(next.window, next.engine);
    }
    this.#listeners.onQueue?.(this.#queue.size);
    clearTimeout(this.#expiry);
    const expirySeconds = this.#queue.nextExpirySeconds();
    if (expirySeconds === null) return;
    // The threads that run hold the process, not this timer.
    this.#expiry = setTimeout(() => this.#pump(), Math.ceil((expirySeconds - this.#nowSeconds()) * 1000)).unref();
  }

  #start(window: Window, engine: number): void {
    const running = this.#running[engine] as Record<Priority, number>;
    const thread = this.#threads[engine] as EngineThread;
    window.startedSeconds = this.#nowSeconds();
    this.#meter.started(window.startedSeconds);
    running[window.priority]++;
    const ended = (settle: () => void): void => {
      running[window.priority]--;
      settle();
      this.#pump();
    };
    thread.run(window.request, window.signal).then(
      (answer) => ended(() => this.#finish(window, answer)),
      (error: WhisperError) => ended(() => this.#drop(window, error)),
    );
  }

  #finish(window: Window, { cost, result }: EngineAnswer): void {
    const now = this.#nowSeconds();
    this.#meter.finished(window.priority, cost, now - window.submittedSeconds, now);
    this.#observe(window, 'done', cost);
    this.#calls.take(window.id)?.resolve(result);
  }

  /** It ran, and there is no result. */
  #drop(window: Window, error: WhisperError): void {
    const now = this.#nowSeconds();
    this.#meter.abandoned(window.priority, now - (window.startedSeconds ?? now), now);
    this.#observe(window, error.code === 'cancelled' ? 'cancelled' : 'failed');
    this.#calls.take(window.id)?.reject(error);
  }

  #expire(): void {
    for (const window of this.#queue.expire(this.#nowSeconds()))
      this.#refuse(window, 'The engine is too busy: the window waited too long.');
  }

  #refuse(window: Window, message: string): void {
    const now = this.#nowSeconds();
    this.#meter.refused(window.priority, now - window.submittedSeconds, now);
    this.#observe(window, 'refused');
    this.#calls.take(window.id)?.reject(new WhisperError('overloaded', message, { retryAfterSeconds: 1 }));
  }

  /** One thread's end is the end of all: what it ran is lost, and whoever supervises the service starts it anew. */
  #fail(error: WhisperError): void {
    if (this.#refusal === null) this.#listeners.onFailure?.(error);
    this.#refusal ??= error;
    for (const window of this.#queue.clear()) this.#observe(window, 'failed');
    this.#calls.rejectAll(error);
  }

  #observe(window: Window, outcome: WindowObservation['outcome'], cost: WindowCost | null = null): void {
    const { audioSeconds, priority, startedSeconds, submittedSeconds } = window;
    this.#listeners.onWindow?.({
      priority,
      outcome,
      audioSeconds,
      waitSeconds: (startedSeconds ?? this.#nowSeconds()) - submittedSeconds,
      engineSeconds: cost ? engineSeconds(cost) : 0,
      cost,
    });
  }

  #nowSeconds(): number {
    return this.#nowMs() / 1000;
  }
}

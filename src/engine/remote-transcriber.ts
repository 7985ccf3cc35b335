// The Transcriber whose engines run in other processes, behind one address: sends windows there, tries again what got lost on the way.
//
// A window carries all that its decode needs, so one whose replica died is sent again, to whoever answers at the address by then.
// Only failures of the way are repeated here; what an engine itself refuses or fails at is its answer.

import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Dispatcher, Pool } from 'undici';
import { ERROR_CODES, type ErrorCode, WhisperError } from '../core/errors.ts';
import { ASR_PATH, type AsrAnswer, type AsrReport, encodeWindow, WINDOW_CONTENT_TYPE, WINDOWS_PATH } from './asr-protocol.ts';
import { PendingCalls } from './pending-calls.ts';
import { RemoteLoad } from './remote-load.ts';
import type { ModelInfo, Priority, TranscribeRequest, TranscribeResult, Transcriber, TranscriberLoad } from './transcriber.ts';

export interface RemoteTranscriberOptions extends RemoteListeners {
  /** `unix:PATH` or `http://HOST:PORT`, where a process answers as `server/asr-server` does. */
  readonly url: string;
  /** After so many seconds a window is given up, all repetitions included. @default 45 for a final, 3 for a partial, 600 for a file */
  readonly giveUpSeconds?: Partial<Readonly<Record<Priority, number>>>;
  /** Windows that are out at once; beyond it they are refused. @default 2048 */
  readonly maxOut?: number;
}

export interface RemoteListeners {
  /** Told of every window when it leaves. */
  readonly onWindow?: ((observation: RemoteObservation) => void) | undefined;
  /** Told when a window is sent once more. */
  readonly onRetry?: (() => void) | undefined;
}

/** What became of one window. */
export interface RemoteObservation {
  readonly priority: Priority;
  readonly outcome: 'done' | 'failed' | 'refused' | 'cancelled';
  /** From submission to the end. */
  readonly seconds: number;
  /** What of it the engine's process did not have the window; null unless it is done. */
  readonly hopSeconds: number | null;
}

export interface RemoteTranscriber extends Transcriber {
  /** Processes heard of in the last seconds. */
  replicaCount(): number;
}

/** A final may wait 30 s in the engine's queue, which says so itself when it does not want it; this is for what nobody answers. */
const GIVE_UP_SECONDS: Readonly<Record<Priority, number>> = { final: 45, partial: 3, file: 600 };
/** A window that was with so many replicas when they died, and perhaps is why, is not given to another one. */
const MOST_LOSSES = 4;
/** What is lost again so soon fell to the same death: a replica takes longer to be there. */
const SAME_LOSS_MS = 1000;
/** Pauses before a window is sent again; the last one repeats. A replica that starts anew takes some seconds. */
const RETRY_PAUSES_MS = [20, 100, 250, 500, 1000];
/** Of connections that were never there, and so took nothing. */
const NOT_CONNECTED: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT', 'UND_ERR_CONNECT_TIMEOUT', 'EHOSTUNREACH', 'ENETUNREACH']);
/** Failures of the way, not of the work. */
const LOST_CODES: ReadonlySet<ErrorCode> = new Set(['unavailable', 'not_ready', 'going_away']);
/** Between two questions for the load: an idle stream hears of others' load only so. */
const POLL_MS = 2000;
const POLL_TIMEOUT_MS = 5000;
const CONNECT_TIMEOUT_MS = 2000;

/**
 * Resolves when somebody answers at the address; waits for it as long as the signal lets it.
 * @param onWaiting told in words, once, when nobody answers yet
 * @throws WhisperError `invalid_parameter` where the URL is none; the signal's reason
 */
export async function connectRemoteTranscriber(
  options: RemoteTranscriberOptions,
  signal: AbortSignal,
  onWaiting: (message: string) => void = () => undefined,
): Promise<RemoteTranscriber> {
  const pool = openPool(options.url);
  const caller = randomUUID();
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        return new HttpTranscriber(pool, await report(pool, caller, signal), caller, options);
      } catch (error) {
        signal.throwIfAborted();
        if (attempt === 0) onWaiting(`Waiting for the speech recogniser: ${(error as Error).message}`);
        await delay(pauseMs(attempt), undefined, { signal });
      }
    }
  } catch (error) {
    await pool.destroy();
    throw error;
  }
}

interface Window {
  readonly priority: Priority;
  readonly submittedMs: number;
}

class HttpTranscriber implements RemoteTranscriber {
  readonly info: ModelInfo;
  readonly #pool: Pool;
  readonly #caller: string;
  readonly #options: RemoteTranscriberOptions;
  readonly #load: RemoteLoad;
  readonly #calls = new PendingCalls<TranscribeResult>(() => this.#onIdle?.());
  /** What is out, in order of submission. */
  readonly #out = new Set<Window>();
  readonly #polling = new AbortController();
  #closing: Promise<void> | null = null;
  #onIdle: (() => void) | null = null;

  constructor(pool: Pool, first: AsrReport, caller: string, options: RemoteTranscriberOptions) {
    this.info = first.info;
    this.#pool = pool;
    this.#caller = caller;
    this.#options = options;
    this.#load = new RemoteLoad(first, nowSeconds());
    void this.#poll();
  }

  load(): TranscriberLoad {
    const nowMs = performance.now();
    let oldestMs = nowMs;
    for (const { priority, submittedMs } of this.#out) {
      if (priority !== 'final') continue;
      oldestMs = submittedMs;
      break;
    }
    return this.#load.load(nowMs / 1000, (nowMs - oldestMs) / 1000);
  }

  replicaCount(): number {
    return this.#load.replicaCount(nowSeconds());
  }

  transcribe(request: TranscribeRequest, signal?: AbortSignal): Promise<TranscribeResult> {
    if (this.#closing) return Promise.reject(new WhisperError('going_away', 'The engine is shutting down.'));
    if (signal?.aborted) return Promise.reject(cancelled());
    const { maxOut = 2048 } = this.#options;
    if (this.#out.size >= maxOut) {
      return Promise.reject(
        new WhisperError('overloaded', `The engine's queue is full: ${maxOut} windows are out.`, { retryAfterSeconds: 1 }),
      );
    }
    const { priority = 'final' } = request;
    const window: Window = { priority, submittedMs: performance.now() };
    const giveUp = new AbortController();
    this.#out.add(window);
    return this.#calls.open(
      (id) => {
        this.#send(request, window, giveUp).then(
          ({ result, seconds }) => {
            this.#left(window, 'done', seconds);
            this.#calls.take(id)?.resolve(result);
          },
          (error: WhisperError) => {
            this.#left(window, outcomeOf(error));
            this.#calls.take(id)?.reject(error);
          },
        );
      },
      () => {
        giveUp.abort(cancelled());
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
    if (this.#calls.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    this.#polling.abort();
    await this.#pool.destroy();
  }

  /** Rejects with a WhisperError only. */
  async #send(request: TranscribeRequest, { priority, submittedMs }: Window, giveUp: AbortController): Promise<AsrAnswer> {
    const timeoutMs = 1000 * (this.#options.giveUpSeconds?.[priority] ?? GIVE_UP_SECONDS[priority]);
    const timer = setTimeout(
      () => giveUp.abort(new WhisperError('unavailable', 'The speech recogniser did not answer in time.')),
      timeoutMs,
    );
    const { signal } = giveUp;
    try {
      let losses = 0;
      let lostMs = Number.NEGATIVE_INFINITY;
      for (let attempt = 0; ; attempt++) {
        try {
          const leftMs = Math.max(1, timeoutMs - (performance.now() - submittedMs));
          const body = encodeWindow(request, { timeoutMs: leftMs, model: this.info.name, caller: this.#caller });
          const answer = await ask<AsrAnswer>(this.#pool, 'POST', WINDOWS_PATH, signal, body);
          this.#load.heard(answer, nowSeconds());
          return answer;
        } catch (error) {
          // Nobody waits for a partial that comes late.
          if (signal.aborted || priority === 'partial' || !LOST_CODES.has((error as WhisperError).code)) throw error;
          const nowMs = performance.now();
          if (wasTaken(error as WhisperError) && nowMs - lostMs >= SAME_LOSS_MS) {
            losses++;
            lostMs = nowMs;
          }
          if (losses === MOST_LOSSES) {
            throw new WhisperError('internal', `The speech recogniser was lost ${losses} times while it had the same audio.`, {
              cause: error,
            });
          }
        }
        this.#options.onRetry?.();
        await delay(pauseMs(attempt), undefined, { signal });
      }
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      clearTimeout(timer);
    }
  }

  #left(window: Window, outcome: RemoteObservation['outcome'], engineSeconds: number | null = null): void {
    this.#out.delete(window);
    const seconds = (performance.now() - window.submittedMs) / 1000;
    if (outcome === 'done' && window.priority === 'final') this.#load.finalDone(seconds, nowSeconds());
    const hopSeconds = engineSeconds === null ? null : seconds - engineSeconds;
    this.#options.onWindow?.({ priority: window.priority, outcome, seconds, hopSeconds });
  }

  async #poll(): Promise<void> {
    const { signal } = this.#polling;
    while (!signal.aborted) {
      // The next answer, to this question or to a window, says how it is then.
      await delay(POLL_MS, undefined, { signal, ref: false }).catch(() => undefined);
      const heard = await report(this.#pool, this.#caller, signal).catch(() => null);
      if (heard !== null) this.#load.heard(heard, nowSeconds());
    }
  }
}

const nowSeconds = (): number => performance.now() / 1000;

const cancelled = (): WhisperError => new WhisperError('cancelled', 'The request was cancelled.');

/** With some chance in it, so that windows that got lost together do not come back together. */
function pauseMs(attempt: number): number {
  const pause = RETRY_PAUSES_MS[Math.min(attempt, RETRY_PAUSES_MS.length - 1)] as number;
  return pause * (0.75 + Math.random() / 2);
}

/** Whether somebody may have had the window when it was lost; who is not ready, or is going, says so before it takes one. */
function wasTaken({ cause, code }: WhisperError): boolean {
  return code === 'unavailable' && !NOT_CONNECTED.has((cause as { code?: string } | undefined)?.code ?? '');
}

function outcomeOf({ code }: WhisperError): RemoteObservation['outcome'] {
  if (code === 'cancelled') return 'cancelled';
  return code === 'overloaded' ? 'refused' : 'failed';
}

function openPool(url: string): Pool {
  const options: Pool.Options = {
    pipelining: 1,
    connections: null,
    connect: { timeout: CONNECT_TIMEOUT_MS },
    // A window's own time-out is the one that counts.
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  if (/^unix:./.test(url))
    return new Pool('http://asr', { ...options, connect: { ...options.connect, socketPath: url.slice('unix:'.length) } });
  if (!/^https?:\/\/[^/]+\/?$/.test(url)) {
    throw new WhisperError(
      'invalid_parameter',
      `expected unix:PATH or http://HOST:PORT as the recogniser's address, got ${JSON.stringify(url)}`,
    );
  }
  return new Pool(url, options);
}

const report = (pool: Pool, caller: string, signal: AbortSignal): Promise<AsrReport> =>
  ask<AsrReport>(pool, 'GET', `${ASR_PATH}?caller=${caller}`, AbortSignal.any([signal, AbortSignal.timeout(POLL_TIMEOUT_MS)]));

/** @throws WhisperError as the other side says it; `unavailable` where it does not, or cannot be reached */
async function ask<T>(pool: Pool, method: 'GET' | 'POST', path: string, signal: AbortSignal, body: Uint8Array | null = null): Promise<T> {
  let response: Dispatcher.ResponseData;
  let text: string;
  try {
    response = await pool.request({ method, path, body, signal, headers: body === null ? {} : { 'content-type': WINDOW_CONTENT_TYPE } });
    text = await response.body.text();
  } catch (cause) {
    throw new WhisperError('unavailable', `it cannot be reached (${(cause as Error & { code?: string }).code ?? 'no answer'})`, { cause });
  }
  const answer = parseJson(text);
  if (response.statusCode === 200 && answer !== null) return answer as T;
  const { code, message } = (answer as { error?: { code?: string; message?: string } } | null)?.error ?? {};
  const retryAfterSeconds = Number(response.headers['retry-after']);
  throw new WhisperError(
    code !== undefined && code in ERROR_CODES ? (code as ErrorCode) : 'unavailable',
    message ?? `it answered with HTTP ${response.statusCode}`,
    retryAfterSeconds > 0 ? { retryAfterSeconds } : {},
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

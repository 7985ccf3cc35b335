// Drives a live session: asks the transcriber and the speech detector what the session wants to know, and sends its events in order.

import { randomUUID } from 'node:crypto';
import { toWhisperError, WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE, toSamples } from '../core/units.ts';
import type { SpeechDetector, Task, Transcriber } from '../engine/transcriber.ts';
import type { StreamEvent } from '../protocol/stream-messages.ts';
import { createDeferred, type Deferred } from './deferred.ts';
import { Pacer } from './pacer.ts';
import { ReceiptClock } from './receipt-clock.ts';
import { type Sleep, sleepOnTimer, withRetries } from './retry.ts';
import { Session } from './session.ts';
import type { DecodeStep, GateStep, SessionEvent } from './session-types.ts';
import { toStreamEvent } from './wire-events.ts';

/** Frames at least this probable are speech. Low: a missed word is worse than a window decoded in vain. */
const SPEECH_THRESHOLD = 0.4;

/** Pauses before a final window is tried again; a partial is not. */
const FINAL_RETRY_PAUSES_MS = [250, 500, 1000, 2000, 4000];

/** A microphone sends what it has heard; who is further ahead than frames and networks make one has a recording. */
const AHEAD_SECONDS = 3;
/** Seconds of a lead that a second takes away: a client that begins with some seconds in hand is soon one like the others. */
const LEAD_MELTS = 1.1;

export interface LiveOptions {
  /** Seconds of new audio per window, 1-25. */
  readonly chunkDuration: number;
  /** Seconds at a window's end that are heard again with the next, 0 to half the chunk. */
  readonly overlap: number;
  readonly useContext: boolean;
  /** ISO code; null finds it. */
  readonly language: string | null;
  readonly task: Task;
  readonly prompt: string;
  readonly interimResults: boolean;
  readonly wordTimestamps: boolean;
  /** Frame level below which all is silence, in dBFS; null: never. @default -60 */
  readonly silenceLevelDb?: number | null;
  /** Speech probability (0-1) that opens the gate; null: the detector is not asked. @default 0.4 */
  readonly speechThreshold?: number | null;
  /** Aborting closes the session. */
  readonly signal: AbortSignal;
  /** Called in order, never after close(). */
  onEvent(event: StreamEvent): void;
}

export interface LiveParts {
  readonly transcriber: Transcriber;
  readonly speechDetector: SpeechDetector | null;
  /** Milliseconds of any monotonic clock, for `lag`. @default performance.now */
  readonly now?: () => number;
  /** Waits between retries. @default a timer */
  readonly sleep?: Sleep;
  /** How often the sessions of one engine may show partials: shared by all of them. @default one of its own */
  readonly pacer?: Pacer;
  /** Names the stream to the transcriber, see TranscribeRequest. @default a random id */
  readonly owner?: string;
}

export interface LiveSession {
  /** Takes mono PCM at 16 kHz and copies it; nothing after close() or a failure. Throws `invalid_message` after end(). */
  push(pcm: Float32Array): void;
  /** Samples that wait behind the window being decoded; 0 while only more audio is awaited, however long the chunk. */
  readonly pendingSamples: number;
  /** Resolves when pendingSamples is at most `belowSamples`; rejects when the session ends before. */
  drained(belowSamples: number): Promise<void>;
  /** Resolves when everything pushed so far was sent as finals and no_speech, after `finalized`. */
  finalize(): Promise<void>;
  /** As finalize, with `end` as the last event. A second call gives the same promise. */
  end(): Promise<void>;
  /** Gives up what is running; done resolves. Idempotent. */
  close(): void;
  /** Settles when the stream is over: resolves after `end` or close(), rejects with the WhisperError that ended it. */
  readonly done: Promise<void>;
}

export function createLiveSession(parts: LiveParts, options: LiveOptions): LiveSession {
  return new LiveDriver(parts, options);
}

class LiveDriver implements LiveSession {
  readonly done: Promise<void>;
  readonly #parts: Required<LiveParts>;
  readonly #options: LiveOptions;
  readonly #session: Session;
  readonly #receipts = new ReceiptClock();
  readonly #settled = createDeferred();
  readonly #running = new AbortController();
  readonly #flushes: Deferred[] = [];
  readonly #outbox: SessionEvent[] = [];
  readonly #drainWaiters = new Set<{ readonly belowSamples: number; readonly deferred: Deferred }>();
  #partial: AbortController | null = null;
  #aheadSeconds = 0;
  #lastReceiptMs = Number.NEGATIVE_INFINITY;
  #leavePacer: (() => void) | null = null;
  #ending: Promise<void> | null = null;
  #isSending = false;
  #isOver = false;

  constructor(parts: LiveParts, options: LiveOptions) {
    const now = parts.now ?? (() => performance.now());
    const pacer = parts.pacer ?? new Pacer(() => parts.transcriber.load(), now);
    this.#parts = { sleep: sleepOnTimer, owner: randomUUID(), ...parts, now, pacer };
    this.#options = options;
    this.#session = new Session({
      chunkSamples: toSamples(options.chunkDuration),
      overlapSamples: toSamples(options.overlap),
      useContext: options.useContext,
      language: options.language,
      task: options.task,
      promptText: options.prompt,
      interimResults: options.interimResults,
      owner: this.#parts.owner,
      ...(options.silenceLevelDb !== undefined && { silenceLevelDb: options.silenceLevelDb }),
      speechThreshold:
        parts.speechDetector === null ? null : options.speechThreshold === undefined ? SPEECH_THRESHOLD : options.speechThreshold,
    });
    if (options.interimResults) this.#leavePacer = pacer.join();
    this.done = this.#settled.promise;
    if (options.signal.aborted) this.close();
    else options.signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  get pendingSamples(): number {
    return this.#session.backlogSamples;
  }

  push(pcm: Float32Array): void {
    if (this.#isOver) return;
    this.#refuseAfterEnd('audio');
    this.#countAhead(pcm.length / SAMPLE_RATE);
    this.#receipts.received(pcm.length, this.#parts.now());
    this.#session.push(pcm);
    this.#pump();
  }

  drained(belowSamples: number): Promise<void> {
    if (this.#isOver) return rejected();
    if (this.pendingSamples <= belowSamples) return Promise.resolve();
    const waiter = { belowSamples, deferred: createDeferred() };
    this.#drainWaiters.add(waiter);
    return waiter.deferred.promise;
  }

  finalize(): Promise<void> {
    if (this.#isOver) return rejected();
    this.#refuseAfterEnd('finalize');
    this.#session.finalize();
    return this.#flush(createDeferred());
  }

  end(): Promise<void> {
    if (this.#ending !== null) return this.#ending;
    if (this.#isOver) return rejected();
    this.#session.end();
    const flush = createDeferred();
    // Before the events go out: a listener may call end() again.
    this.#ending = flush.promise;
    return this.#flush(flush);
  }

  close(): void {
    this.#finish(null);
  }

  readonly #onAbort = (): void => this.close();

  #refuseAfterEnd(what: string): void {
    if (this.#ending !== null) throw new WhisperError('invalid_message', `${what} after end; the stream takes nothing more`);
  }

  #flush(flush: Deferred): Promise<void> {
    this.#flushes.push(flush);
    this.#pump();
    return flush.promise;
  }

  /** How far the audio has run ahead of the clock; what a pause leaves behind is forgotten, and a lead melts away. */
  #countAhead(seconds: number): void {
    const now = this.#parts.now();
    const elapsedSeconds = (now - this.#lastReceiptMs) / 1000;
    this.#aheadSeconds = Math.max(0, this.#aheadSeconds - LEAD_MELTS * elapsedSeconds) + seconds;
    this.#lastReceiptMs = now;
  }

  /** Takes steps until the session waits for an answer or for audio. */
  #pump(): void {
    const pace = this.#parts.pacer.pace(this.#leavePacer !== null, this.#aheadSeconds > AHEAD_SECONDS);
    for (let step = this.#session.next(pace); step !== null && !this.#isOver; step = this.#session.next(pace)) {
      if (step.kind === 'emit') this.#emit(step.events);
      else void this.#work(step);
    }
    for (const waiter of this.#drainWaiters) {
      if (this.pendingSamples > waiter.belowSamples) continue;
      this.#drainWaiters.delete(waiter);
      waiter.deferred.resolve();
    }
  }

  /** One question and its answer; never rejects. */
  async #work(step: GateStep | DecodeStep): Promise<void> {
    const isFinal = step.window.purpose === 'final';
    // The session plans a final only after it gave the partial up.
    this.#partial?.abort();
    this.#partial = isFinal ? null : new AbortController();
    const signal = this.#partial === null ? this.#running.signal : AbortSignal.any([this.#running.signal, this.#partial.signal]);
    try {
      const events = await withRetries(() => this.#ask(step, signal), isFinal ? FINAL_RETRY_PAUSES_MS : [], signal, this.#parts.sleep);
      if (this.#isOver) return;
      this.#emit(events());
    } catch (error) {
      if (this.#isOver) return;
      // Overload skips partials first; they are a courtesy.
      const events = this.#session.stepFailed(step);
      if (events === null) this.#finish(toWhisperError(error));
      else this.#emit(events);
    }
    if (!this.#isOver) this.#pump();
  }

  /** The answer, to be given to the session outside of any retry. */
  async #ask(step: GateStep | DecodeStep, signal: AbortSignal): Promise<() => SessionEvent[]> {
    const { transcriber, speechDetector } = this.#parts;
    if (step.kind === 'decode') {
      const result = await transcriber.transcribe(step.request, signal);
      return () => this.#session.decodeResult(step, result);
    }
    if (speechDetector === null) throw new Error('a gate step without a detector');
    const probabilities = await speechDetector.detect(step.pcm, signal);
    return () => this.#session.gateResult(step, probabilities);
  }

  /** Sends in order even when a listener pushes audio from within onEvent; a listener that throws ends the stream. */
  #emit(events: readonly SessionEvent[]): void {
    this.#outbox.push(...events);
    if (this.#isSending) return;
    this.#isSending = true;
    try {
      for (let event = this.#outbox.shift(); event !== undefined && !this.#isOver; event = this.#outbox.shift()) this.#send(event);
    } catch (error) {
      this.#finish(toWhisperError(error));
    } finally {
      this.#isSending = false;
    }
  }

  #send(event: SessionEvent): void {
    this.#options.onEvent(toStreamEvent(event, this.#options.wordTimestamps, this.#lagSeconds(event)));
    if (event.kind === 'finalized' || event.kind === 'end') this.#flushes.shift()?.resolve();
    if (event.kind === 'end') this.#finish(null);
  }

  #lagSeconds(event: SessionEvent): number {
    // Asked for silence too, so that a silent stream forgets its arrivals.
    if (event.kind !== 'final' && event.kind !== 'no_speech') return 0;
    const now = this.#parts.now();
    return (now - (this.#receipts.arrivalMs(event.end) ?? now)) / 1000;
  }

  #finish(error: WhisperError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#running.abort();
    this.#partial?.abort();
    this.#leavePacer?.();
    const reason = error ?? cancelled();
    for (const flush of this.#flushes.splice(0)) flush.reject(reason);
    for (const { deferred } of this.#drainWaiters) deferred.reject(reason);
    this.#drainWaiters.clear();
    if (error === null) this.#settled.resolve();
    else this.#settled.reject(error);
  }
}

const cancelled = (): WhisperError => new WhisperError('cancelled', 'The stream is closed.');

function rejected(): Promise<void> {
  const deferred = createDeferred();
  deferred.reject(cancelled());
  return deferred.promise;
}

// One client's stream: the state machine between its socket, the audio decoder and the live session.
//
//   opening --config or audio--> streaming --end--> ending --flushed--> closing --> closed
//   any --error--> (ending, where finals are owed) --> closing          any --client gone--> closed
//
// Messages are handled one at a time. While one waits (the session is too far behind, the decoder's queue is full), the socket is
// not read: TCP holds the client back, and what ws had already parsed, at most one read of the socket, waits in the inbox.

import type { FastifyBaseLogger } from 'fastify';
import type { RawData } from 'ws';
import type { ReaderSlots } from '../audio/reader-slots.ts';
import { ERROR_CODES, type ErrorCode, toWhisperError, WhisperError } from '../core/errors.ts';
import { toSeconds } from '../core/units.ts';
import type { ModelInfo } from '../engine/transcriber.ts';
import { parseClientMessage } from '../protocol/client-message.ts';
import { DEFAULT_STREAM_CONFIG, type StreamConfig } from '../protocol/stream-config.ts';
import type { ControlType, ServerMessage } from '../protocol/stream-messages.ts';
import type { LiveOptions, LiveSession } from '../streaming/live.ts';
import { retryAfterSeconds } from './error-body.ts';
import type { ServerLimits } from './limits.ts';
import { Liveness } from './liveness.ts';
import type { ServerMetrics, StreamOutcome } from './metrics.ts';
import { checkModelOptions } from './model-options.ts';
import { createStreamOutput, type StreamOutput } from './stream-output.ts';
import type { StreamSocket } from './stream-socket.ts';
import { StreamWork } from './stream-work.ts';

export interface StreamConnectionParts {
  readonly socket: StreamSocket;
  readonly sessionId: string;
  readonly model: ModelInfo;
  readonly createSession: (options: LiveOptions) => LiveSession;
  readonly readerSlots: ReaderSlots;
  readonly limits: ServerLimits;
  readonly metrics: ServerMetrics;
  readonly log: FastifyBaseLogger;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  readonly onClosed: () => void;
}

/** Errors that end a stream whose audio so far was good: its finals are sent first. */
const FLUSHED_ERRORS: ReadonlySet<ErrorCode> = new Set(['audio_too_long', 'undecodable_audio', 'idle_timeout']);

export class StreamConnection {
  readonly #parts: StreamConnectionParts;
  readonly #output: StreamOutput;
  readonly #liveness: Liveness;
  readonly #openedMs: number;
  readonly #inbox: (Buffer | string)[] = [];
  #state: 'opening' | 'streaming' | 'ending' | 'closing' | 'closed' = 'opening';
  /** Runs while messages are being handled. */
  #handling: Promise<void> | null = null;
  #work: StreamWork | null = null;
  #isFailing = false;
  #goingAway: Promise<void> | null = null;
  #outcome: StreamOutcome | null = null;

  constructor(parts: StreamConnectionParts) {
    const { socket, limits, metrics, now } = parts;
    this.#parts = parts;
    this.#openedMs = now();
    this.#output = createStreamOutput(socket, limits, metrics);
    this.#liveness = new Liveness(limits, this.#openedMs);
    metrics.streamOpened();
    socket.onProtocolError = (error) => this.#endWith(error);
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    socket.on('pong', () => this.#liveness.answered());
    // The close event follows and says all there is to say.
    socket.on('error', () => undefined);
    socket.on('close', (code) => this.#closed(code));
  }

  /** To be called often: pings, drops dead peers and sends silent ones away. */
  tick(): void {
    const { socket, limits, now } = this.#parts;
    if (this.#state === 'closing' || this.#state === 'closed') return;
    // While the socket is not read or work is owed, neither silence nor a missing pong is the client's doing.
    if (this.#handling !== null || this.#work?.isFinalizing || this.#state === 'ending') this.#liveness.heard(now());
    const verdict = this.#liveness.check(now());
    if (verdict === 'ping') socket.ping();
    else if (verdict === 'dead') this.#cut('client_vanished');
    else if (verdict === 'idle') {
      this.#fail(new WhisperError('idle_timeout', `expected audio or keep_alive within ${limits.idleMs / 1000} s, got nothing`));
    }
  }

  /** For shutdown: no more input; the finals of what was received, `going_away`, close. Resolves when the close frame is sent. */
  goAway(): Promise<void> {
    this.#goingAway ??= this.#flushAndLeave();
    return this.#goingAway;
  }

  /** For shutdown's deadline: what is not sent by now is lost. */
  cutShort(): void {
    this.#leave();
    this.#parts.socket.terminate();
  }

  /** Turns the client away before it said anything. */
  refuse(error: WhisperError): void {
    this.#endWith(error);
  }

  #receive(data: RawData, isBinary: boolean): void {
    this.#liveness.heard(this.#parts.now());
    // After `end`, after an error and at shutdown nothing more is taken.
    if (this.#goingAway !== null || !this.#isTaking()) return;
    this.#inbox.push(isBinary ? (data as Buffer) : String(data));
    if (this.#handling === null) this.#handleInbox();
  }

  #isTaking(): boolean {
    return this.#state === 'opening' || this.#state === 'streaming';
  }

  /** Handles what can be handled at once; the rest waits in #handling, with the socket paused. */
  #handleInbox(): void {
    try {
      for (let message = this.#inbox.shift(); message !== undefined && this.#isTaking(); message = this.#inbox.shift()) {
        const wait = typeof message === 'string' ? this.#handleText(message) : this.#handleAudio(message);
        if (wait === undefined) continue;
        this.#parts.socket.pause();
        this.#handling = wait
          .catch((error: unknown) => this.#fail(error))
          .then(() => {
            this.#handling = null;
            this.#handleInbox();
            if (this.#handling === null) this.#parts.socket.resume();
          });
        return;
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #handleAudio(bytes: Buffer): Promise<void> | undefined {
    return (this.#work ?? this.#start(DEFAULT_STREAM_CONFIG)).push(bytes);
  }

  #handleText(text: string): Promise<void> | undefined {
    const message = parseClientMessage(text, this.#state === 'opening');
    if (message.kind === 'control') return this.#handleControl(message.type);
    this.#start(message.config);
    return undefined;
  }

  #handleControl(type: ControlType): Promise<void> | undefined {
    if (type === 'keep_alive') return undefined;
    const work = this.#work ?? this.#start(DEFAULT_STREAM_CONFIG);
    if (type === 'finalize') return work.finalize();
    this.#state = 'ending';
    work.end().then(
      () => this.#close(1000, 'end'),
      (error: unknown) => this.#fail(error),
    );
    return undefined;
  }

  #start(config: StreamConfig): StreamWork {
    const { limits, metrics, model, sessionId, createSession, readerSlots } = this.#parts;
    checkModelOptions(model, config, 'invalid_config');
    this.#work = new StreamWork(config, {
      createSession,
      readerSlots,
      limits,
      metrics,
      onEvent: (event) => this.#send(event),
      onError: (error) => this.#fail(error),
    });
    this.#state = 'streaming';
    const { chunk_duration, overlap, use_context, language } = config;
    this.#send({ type: 'ready', session_id: sessionId, model: model.name, chunk_duration, overlap, use_context, language });
    return this.#work;
  }

  #send(message: ServerMessage): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    if (!this.#output.send(message)) this.#cut('slow_reader');
  }

  #fail(thrown: unknown): void {
    if (this.#isFailing || this.#state === 'closing' || this.#state === 'closed') return;
    this.#isFailing = true;
    const error = toWhisperError(thrown);
    const { log, sessionId, limits } = this.#parts;
    if (ERROR_CODES[error.code].httpStatus === 500) log.error({ session: sessionId, err: error.cause ?? error }, 'stream failed');
    if (this.#work === null || !FLUSHED_ERRORS.has(error.code)) {
      this.#endWith(error);
    } else {
      this.#state = 'ending';
      void this.#work.flush(AbortSignal.timeout(limits.flushTimeoutMs)).then(() => this.#endWith(error));
    }
  }

  async #flushAndLeave(): Promise<void> {
    // What had arrived is still handled; the state may be another when it is.
    while (this.#handling !== null) await this.#handling;
    // The client's own end, or an error, is on its way out; the server waits for the socket to close.
    if (this.#state === 'ending') return;
    if (this.#work !== null && this.#state === 'streaming') {
      this.#state = 'ending';
      await this.#work.flush();
    }
    this.#leave();
  }

  #leave(): void {
    this.#send({ type: 'going_away' });
    this.#close(1001, 'going_away');
  }

  #endWith(error: WhisperError): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    const retryAfter = retryAfterSeconds(error);
    this.#parts.metrics.failed(error.code);
    this.#send({ type: 'error', code: error.code, message: error.message, ...(retryAfter !== undefined && { retry_after: retryAfter }) });
    this.#close(ERROR_CODES[error.code].closeCode, error.code);
  }

  #close(closeCode: number, outcome: StreamOutcome): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.#state = 'closing';
    this.#outcome ??= outcome;
    this.#release();
    // The client's close frame must be read, even where its audio no longer is.
    this.#parts.socket.resume();
    this.#parts.socket.close(closeCode, outcome);
  }

  #cut(outcome: StreamOutcome): void {
    this.#outcome ??= outcome;
    this.#state = 'closing';
    this.#release();
    this.#parts.socket.terminate();
  }

  #release(): void {
    this.#inbox.length = 0;
    this.#work?.close();
  }

  #closed(code: number): void {
    const { metrics, log, sessionId, now, onClosed } = this.#parts;
    this.#outcome ??= code === 1006 ? 'client_vanished' : 'client_closed';
    this.#state = 'closed';
    this.#release();
    metrics.streamClosed(this.#outcome);
    const seconds = Math.round(now() - this.#openedMs) / 1000;
    log.info(
      { session: sessionId, outcome: this.#outcome, closeCode: code, seconds, audioSeconds: toSeconds(this.#work?.receivedSamples ?? 0) },
      'stream closed',
    );
    onClosed();
  }
}

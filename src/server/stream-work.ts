// What a stream does once it is configured: bytes to samples to the live session, with its limits, flushes and end.

import type { ReaderSlots } from '../audio/reader-slots.ts';
import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE, toSamples } from '../core/units.ts';
import type { StreamConfig } from '../protocol/stream-config.ts';
import type { StreamEvent } from '../protocol/stream-messages.ts';
import type { LiveOptions, LiveSession } from '../streaming/live.ts';
import type { ServerLimits } from './limits.ts';
import type { ServerMetrics } from './metrics.ts';
import { createIntake, type StreamIntake } from './stream-intake.ts';

export interface StreamWorkParts {
  readonly createSession: (options: LiveOptions) => LiveSession;
  readonly readerSlots: ReaderSlots;
  readonly limits: ServerLimits;
  readonly metrics: ServerMetrics;
  readonly onEvent: (event: StreamEvent) => void;
  /** A failure that no promise of this class reports. */
  readonly onError: (error: unknown) => void;
}

export class StreamWork {
  readonly #parts: StreamWorkParts;
  readonly #session: LiveSession;
  readonly #intake: StreamIntake;
  readonly #abort = new AbortController();
  /** The last finalize that the client asked for, while it runs. */
  #finalizing: Promise<void> | null = null;
  /** `finalized` events that the client has asked for; a flush of our own is not told to it. */
  #finalizedOwed = 0;
  #receivedSamples = 0;

  constructor(config: StreamConfig, parts: StreamWorkParts) {
    this.#parts = parts;
    this.#session = parts.createSession({
      chunkDuration: config.chunk_duration,
      overlap: config.overlap,
      useContext: config.use_context,
      language: config.language,
      task: config.task,
      prompt: config.prompt,
      interimResults: config.interim_results,
      wordTimestamps: config.word_timestamps,
      signal: this.#abort.signal,
      onEvent: (event) => this.#emit(event),
    });
    this.#session.done.catch(parts.onError);
    this.#intake = createIntake(config, {
      take: (pcm) => this.#take(pcm),
      onError: parts.onError,
      // More than is allowed, so that #take says so: it knows the stream.
      maxSeconds: parts.limits.maxStreamSeconds + 60,
      maxUndecodedBytes: parts.limits.maxUndecodedBytes,
      maxSpoolBytes: parts.limits.maxFileBytes,
      readerSlots: parts.readerSlots,
      signal: this.#abort.signal,
    });
  }

  get receivedSamples(): number {
    return this.#receivedSamples;
  }

  /** The client waits for an answer. */
  get isFinalizing(): boolean {
    return this.#finalizing !== null;
  }

  /** @returns a promise where nothing more should be pushed until it resolves; it rejects where the audio is refused */
  push(bytes: Uint8Array): Promise<void> | undefined {
    return this.#intake.push(bytes);
  }

  /** The client's finalize. One runs at a time, so a client that sends a thousand of them waits for each: as push. */
  finalize(): Promise<void> | undefined {
    if (this.#finalizing !== null) return this.#finalizing.then(() => this.finalize());
    const flush = (): Promise<void> => {
      this.#finalizedOwed++;
      return this.#session.finalize();
    };
    // Raw audio is settled at once: the flush then stands exactly where the message stood.
    const settled = this.#intake.settled();
    this.#finalizing = (settled === undefined ? flush() : settled.then(flush)).catch(this.#parts.onError).then(() => {
      this.#finalizing = null;
    });
    return undefined;
  }

  /** The client's end: resolves after the `end` event. */
  async end(): Promise<void> {
    await this.#finalizing;
    await this.#intake.end();
    await this.#session.end();
  }

  /** Finals of what was received, as far as they can be had before the signal aborts. Never rejects. */
  async flush(signal?: AbortSignal): Promise<void> {
    const flushed = Promise.resolve(this.#intake.settled())
      .then(() => this.#session.finalize())
      // The session's own failure: it has nothing more to give.
      .catch(() => undefined);
    const late = new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
    await Promise.race([flushed, late]);
  }

  /** Gives up all that runs. Idempotent. */
  close(): void {
    this.#abort.abort();
    this.#session.close();
    this.#intake.close();
  }

  /** Hands samples to the session; a promise resolves when it has caught up. */
  #take(pcm: Float32Array): Promise<void> | undefined {
    if (pcm.length === 0 || this.#abort.signal.aborted) return undefined;
    const { maxStreamSeconds, maxAheadSeconds } = this.#parts.limits;
    const allowed = pcm.subarray(0, Math.max(0, toSamples(maxStreamSeconds) - this.#receivedSamples));
    this.#receivedSamples += allowed.length;
    this.#parts.metrics.audioReceived('stream', allowed.length / SAMPLE_RATE);
    if (allowed.length > 0) this.#session.push(allowed);
    if (allowed.length < pcm.length) {
      throw new WhisperError('audio_too_long', `expected at most ${maxStreamSeconds} s of audio, got more`);
    }
    if (this.#session.pendingSamples <= toSamples(maxAheadSeconds)) return undefined;
    return this.#session.drained(toSamples(maxAheadSeconds / 2));
  }

  #emit(event: StreamEvent): void {
    if (event.type === 'finalized') {
      if (this.#finalizedOwed === 0) return;
      this.#finalizedOwed--;
    }
    this.#parts.onEvent(event);
  }
}

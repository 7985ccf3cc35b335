// Prometheus metrics of the server: what it is asked, what it refuses, how far its finals lag. Labels take few, known values only.

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ErrorCode } from '../core/errors.ts';
import type { StreamEvent } from '../protocol/stream-messages.ts';
import { createHttpMetrics, type HttpMetrics } from './http-metrics.ts';

/** How a stream ended: as asked, by an error, or by its client. */
export type StreamOutcome = 'end' | ErrorCode | 'client_closed' | 'client_vanished' | 'slow_reader';

/** Where audio comes in. */
export type AudioPath = 'stream' | 'rest';

export interface ServerMetrics extends HttpMetrics {
  streamOpened(): void;
  streamClosed(outcome: StreamOutcome): void;
  audioReceived(path: AudioPath, seconds: number): void;
  eventSent(event: StreamEvent): void;
  partialDropped(): void;
  refused(path: AudioPath, code: ErrorCode): void;
}

const LAG_BUCKETS_SECONDS = [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30];

/** Registers the server's metrics and the process's, once per registry. */
export function createMetrics(registry: Registry): ServerMetrics {
  const registers = [registry];
  const open = new Gauge({ name: 'whisper_stream_sessions', help: 'Open streams.', registers });
  const closed = new Counter({
    name: 'whisper_stream_sessions_total',
    help: 'Streams that have ended, by outcome: end, an error code, or what the client did.',
    labelNames: ['outcome'],
    registers,
  });
  const audio = new Counter({ name: 'whisper_audio_seconds_total', help: 'Audio received and decoded.', labelNames: ['path'], registers });
  const committed = new Counter({
    name: 'whisper_stream_committed_seconds_total',
    help: 'Audio of streams that was answered, by kind: final or no_speech.',
    labelNames: ['kind'],
    registers,
  });
  const lag = new Histogram({
    name: 'whisper_stream_final_lag_seconds',
    help: 'Time from receipt of the last sample of a final to its sending.',
    buckets: LAG_BUCKETS_SECONDS,
    registers,
  });
  const dropped = new Counter({
    name: 'whisper_stream_partials_dropped_total',
    help: 'Partials not sent, because the client reads too slowly.',
    registers,
  });
  const refused = new Counter({
    name: 'whisper_refused_total',
    help: 'Streams and files refused before any work, by error code.',
    labelNames: ['path', 'code'],
    registers,
  });

  return {
    ...createHttpMetrics(registry),
    streamOpened: () => open.inc(),
    streamClosed(outcome) {
      open.dec();
      closed.inc({ outcome });
    },
    audioReceived: (path, seconds) => audio.inc({ path }, seconds),
    eventSent(event) {
      if (event.type === 'no_speech') committed.inc({ kind: 'no_speech' }, event.end - event.start);
      if (event.type !== 'transcript' || !event.is_final) return;
      committed.inc({ kind: 'final' }, event.end - event.start);
      lag.observe(event.lag);
    },
    partialDropped: () => dropped.inc(),
    refused: (path, code) => refused.inc({ path, code }),
  };
}

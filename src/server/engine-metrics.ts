// Prometheus metrics of the engines: how windows wait, what they take, how they share passes, what drafts save, how busy engines are.

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { WindowObservation } from '../engine/local-transcriber.ts';
import type { TranscriberLoad } from '../engine/transcriber.ts';

export interface EngineMetrics {
  /** A window has left: done or not. */
  windowLeft(observation: WindowObservation): void;
  queueChanged(waitingCount: number): void;
  /** A batch did not fit into the device's memory. */
  outOfMemory(): void;
}

const WAIT_BUCKETS_SECONDS = [0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100, 300];
const WINDOW_BUCKETS_SECONDS = [0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10];
const STEP_BUCKETS_SECONDS = [0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.3];
const ROW_BUCKETS = [1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32];
/** Windows that the real-time factor looks back at. */
const REAL_TIME_WINDOWS = 64;

/**
 * Registers the metrics, once per registry.
 * @param load what the engines say of themselves; null while there are none
 */
export function createEngineMetrics(registry: Registry, load: () => TranscriberLoad | null): EngineMetrics {
  const registers = [registry];
  const windows = new Counter({
    name: 'whisper_engine_windows_total',
    help: 'Windows that have left the engine, by priority and outcome: done, failed, refused or cancelled.',
    labelNames: ['priority', 'outcome'],
    registers,
  });
  const audio = new Counter({
    name: 'whisper_engine_audio_seconds_total',
    help: 'Audio of windows that are done; what windows share counts in each.',
    labelNames: ['priority'],
    registers,
  });
  const wait = new Histogram({
    name: 'whisper_engine_queue_wait_seconds',
    help: 'Time that windows waited for an engine, of those that got one and ended there.',
    labelNames: ['priority'],
    buckets: WAIT_BUCKETS_SECONDS,
    registers,
  });
  const seconds = new Histogram({
    name: 'whisper_engine_window_seconds',
    help: 'Time of one engine that a window took: encoder, decoder, its share of passes that it had company in.',
    labelNames: ['priority'],
    buckets: WINDOW_BUCKETS_SECONDS,
    registers,
  });
  const rows = new Histogram({
    name: 'whisper_engine_batch_rows',
    help: "Mean number of rows in the decoder's passes of a window.",
    buckets: ROW_BUCKETS,
    registers,
  });
  const step = new Histogram({
    name: 'whisper_engine_step_seconds',
    help: 'Decoder time of a window over its passes: its share where passes had more rows.',
    buckets: STEP_BUCKETS_SECONDS,
    registers,
  });
  const tokens = new Counter({
    name: 'whisper_engine_tokens_total',
    help: 'Tokens decoded, those of dropped attempts included.',
    registers,
  });
  const draftTokens = new Counter({ name: 'whisper_engine_draft_tokens_total', help: 'Tokens of drafts that were tried.', registers });
  const acceptedTokens = new Counter({
    name: 'whisper_engine_accepted_draft_tokens_total',
    help: 'Tokens of drafts that were right.',
    registers,
  });
  const outOfMemory = new Counter({
    name: 'whisper_engine_out_of_memory_total',
    help: "Batches that did not fit into the device's memory and were divided; later ones are smaller.",
    registers,
  });
  const queued = new Gauge({ name: 'whisper_engine_queued_windows', help: 'Windows that wait for an engine.', registers });
  const factor = new Gauge({
    name: 'whisper_engine_real_time_factor',
    help: `Engine seconds for a second of audio in windows, over the last ${REAL_TIME_WINDOWS} windows.`,
    registers,
  });
  new Gauge({
    name: 'whisper_engine_load_share',
    help: "Share of the engines' time of the last 10 s, by priority.",
    labelNames: ['priority'],
    registers,
    collect() {
      const measured = load();
      if (measured === null) return;
      this.set({ priority: 'final' }, measured.finalShare);
      this.set({ priority: 'partial' }, measured.partialShare);
      this.set({ priority: 'file' }, measured.fileShare);
    },
  });
  new Gauge({
    name: 'whisper_engine_final_delay_seconds',
    help: '95th percentile of the time from the submission of a final to its result, over the last 10 s; of 2 to 19 the second longest.',
    registers,
    collect() {
      const measured = load();
      if (measured !== null) this.set(measured.finalDelaySeconds);
    },
  });

  const last: WindowObservation[] = [];
  return {
    windowLeft(observation) {
      const { audioSeconds, cost, engineSeconds, outcome, priority, waitSeconds } = observation;
      windows.inc({ priority, outcome });
      if (cost === null) return;
      audio.inc({ priority }, audioSeconds);
      wait.observe({ priority }, waitSeconds);
      seconds.observe({ priority }, engineSeconds);
      if (cost.steps > 0) {
        rows.observe(cost.batchRows);
        step.observe(cost.decodeMs / cost.steps / 1000);
      }
      tokens.inc(cost.tokens);
      draftTokens.inc(cost.draftTokens);
      acceptedTokens.inc(cost.acceptedTokens);
      last.push(observation);
      if (last.length > REAL_TIME_WINDOWS) last.shift();
      const sum = (value: (window: WindowObservation) => number): number => last.reduce((total, window) => total + value(window), 0);
      factor.set(
        sum((window) => window.engineSeconds) /
          Math.max(
            Number.EPSILON,
            sum((window) => window.audioSeconds),
          ),
      );
    },
    queueChanged: (waitingCount) => queued.set(waitingCount),
    outOfMemory: () => outOfMemory.inc(),
  };
}

// Prometheus metrics of engines in other processes, as the one who asks them sees it: what came of windows, and what the way costs.

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { RemoteListeners } from '../engine/remote-transcriber.ts';

const WINDOW_BUCKETS_SECONDS = [0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30];
const HOP_BUCKETS_SECONDS = [0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 5];

/**
 * Registers the metrics, once per registry.
 * @param replicaCount processes heard of lately
 * @returns what the remote transcriber is to tell
 */
export function createRemoteMetrics(registry: Registry, replicaCount: () => number): Required<RemoteListeners> {
  const registers = [registry];
  const windows = new Counter({
    name: 'whisper_remote_windows_total',
    help: 'Windows that were sent to the recogniser and have left, by priority and outcome: done, failed, refused or cancelled.',
    labelNames: ['priority', 'outcome'],
    registers,
  });
  const seconds = new Histogram({
    name: 'whisper_remote_window_seconds',
    help: 'Time from the submission of a window to its result.',
    labelNames: ['priority'],
    buckets: WINDOW_BUCKETS_SECONDS,
    registers,
  });
  const hop = new Histogram({
    name: 'whisper_remote_hop_seconds',
    help: "What of it was spent on the way: before and after the window was in the recogniser's hands.",
    buckets: HOP_BUCKETS_SECONDS,
    registers,
  });
  const retries = new Counter({
    name: 'whisper_remote_retries_total',
    help: 'Windows sent once more, because the recogniser was lost or not there.',
    registers,
  });
  new Gauge({
    name: 'whisper_remote_replicas',
    help: 'Recogniser processes heard of in the last 15 s.',
    registers,
    collect() {
      this.set(replicaCount());
    },
  });
  return {
    onWindow({ hopSeconds, outcome, priority, seconds: taken }) {
      windows.inc({ priority, outcome });
      if (hopSeconds === null) return;
      seconds.observe({ priority }, taken);
      hop.observe(hopSeconds);
    },
    onRetry: () => retries.inc(),
  };
}

// Prometheus metrics of HTTP requests, of errors and of the process: every server of ours has them.

import { Counter, collectDefaultMetrics, Histogram, type Registry } from 'prom-client';
import type { ErrorCode } from '../core/errors.ts';

export interface HttpMetrics {
  failed(code: ErrorCode): void;
  /** @param route the route's pattern, never the URL */
  requestDone(route: string, status: number, seconds: number): void;
}

const REQUEST_BUCKETS_SECONDS = [0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1200];

/** Registers them, once per registry. */
export function createHttpMetrics(registry: Registry): HttpMetrics {
  const registers = [registry];
  if (registry.getSingleMetric('process_cpu_seconds_total') === undefined) collectDefaultMetrics({ register: registry });
  const errors = new Counter({ name: 'whisper_errors_total', help: 'Errors sent to clients, by code.', labelNames: ['code'], registers });
  const requests = new Counter({ name: 'whisper_http_requests_total', help: 'HTTP requests.', labelNames: ['route', 'status'], registers });
  const durations = new Histogram({
    name: 'whisper_http_request_duration_seconds',
    help: 'Time from a request to the end of its answer.',
    labelNames: ['route'],
    buckets: REQUEST_BUCKETS_SECONDS,
    registers,
  });
  return {
    failed: (code) => errors.inc({ code }),
    requestDone(route, status, seconds) {
      requests.inc({ route, status });
      durations.observe({ route }, seconds);
    },
  };
}

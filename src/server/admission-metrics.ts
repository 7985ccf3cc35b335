// Prometheus metrics of admission and degradation: what is predicted, whether streams are let in, how often partials come.

import { Gauge, type Registry } from 'prom-client';
import type { TranscriberLoad } from '../engine/transcriber.ts';
import type { Pacer } from '../streaming/pacer.ts';
import type { Admission } from './admission.ts';

export interface AdmissionMetricsOptions {
  /** null while there is no engine. */
  readonly load: () => TranscriberLoad | null;
  /** null: streams are not refused for load. */
  readonly admission: Admission | null;
  readonly pacer: Pacer;
}

/** Registers the metrics, once per registry; their values are taken when they are asked for. */
export function createAdmissionMetrics(registry: Registry, { load, admission, pacer }: AdmissionMetricsOptions): void {
  const registers = [registry];
  new Gauge({
    name: 'whisper_partial_interval_seconds',
    help: 'Audio between two partials of a stream; +Inf where finals need all there is.',
    registers,
    collect() {
      this.set(pacer.intervalSeconds());
    },
  });
  if (admission === null) return;
  new Gauge({
    name: 'whisper_admission_predicted_share',
    help: "Share of the engines' time that finals would take with one more stream; streams are refused above 0.75.",
    registers,
    collect() {
      const measured = load();
      if (measured !== null) this.set(admission.peek(measured).predictedShare);
    },
  });
  new Gauge({
    name: 'whisper_admission_open',
    help: '1 while a new stream would be let in, 0 while it would be refused.',
    registers,
    collect() {
      const measured = load();
      this.set(measured !== null && admission.peek(measured).isAdmitting ? 1 : 0);
    },
  });
}

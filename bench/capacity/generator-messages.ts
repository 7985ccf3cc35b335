// What the load generator is told and what it reports. Moments are milliseconds since 1970, the same clock in every process.

import type { DialectOptions } from './dialect.ts';
import type { SystemName } from './options.ts';
import type { StreamPlan } from './plan.ts';

export interface StreamOrder {
  readonly plan: StreamPlan;
  /** When it connects, after the start of the job. */
  readonly connectAfterMs: number;
  /** When its audio begins, after the start of the job, or when it is connected, whichever is later. */
  readonly audioAfterMs: number;
}

export interface GeneratorJob extends DialectOptions {
  readonly system: SystemName;
  /** ws://host:port */
  readonly url: string;
  readonly streams: readonly StreamOrder[];
  /** Seconds of audio for each second; Infinity: as fast as the socket takes it, one stream after the other. */
  readonly pace: number;
  /** At the first refusal: streams that are not connected stay away, and the others end after so many more seconds. */
  readonly afterRefusalSeconds: number | null;
  /** What has not ended so long after its last sample is lost. */
  readonly drainSeconds: number;
}

export interface Refusal {
  /** HTTP status, close code or the protocol's own word. */
  readonly reason: string;
  /** From the beginning of the handshake. */
  readonly afterMs: number;
  readonly retryAfterSeconds: number | null;
}

export interface StreamReport {
  readonly index: number;
  /** `absent`: never connected. */
  readonly state: 'done' | 'refused' | 'lost' | 'absent';
  readonly refusal: Refusal | null;
  /** Why it was lost. */
  readonly failure: string | null;
  readonly audioSeconds: number;
  readonly text: string;
  readonly wordLatencySeconds: readonly number[];
  /** When each of these words came. */
  readonly wordReceivedMs: readonly number[];
  /** From the sending of the first speech to the first text that was not empty. */
  readonly firstTextSeconds: number | null;
  readonly partials: number;
  readonly gaps: number | null;
  /** Null: none came. */
  readonly lastTextMs: number | null;
}

export interface GeneratorReport {
  readonly streams: readonly StreamReport[];
  readonly startedMs: number;
  readonly firstRefusalMs: number | null;
  /** Of the generator alone. */
  readonly cpuSeconds: number;
  /** How late frames were sent, by the generator's doing. */
  readonly lateMs: { readonly p95: number; readonly max: number };
}

/** Node's IPC is JSON, which knows no Infinity. */
export type WireJob = Omit<GeneratorJob, 'pace'> & { readonly pace: number | null };

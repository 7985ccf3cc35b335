// What is known so far, and the JSON and the plot that are made of it: written after every stage, whatever comes of the next.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelConfig } from '../../src/model/config.ts';
import type { Precision } from '../../src/model/graph-layers.ts';
import { largestInTime, type Rung } from './ladder.ts';
import type { Gpu } from './machine.ts';
import type { GpuOptions } from './options.ts';
import type { PeerResult } from './peer.ts';
import { readRecording, typicalWindow } from './recorded.ts';
import type { ReplayRung } from './replay.ts';
import { FORCED_TOKENS, POSITIONS, SCALING_WINDOW, type ScalingPoint } from './scaling.ts';
import type { ServedRung } from './served.ts';
import { parameterCount } from './shapes.ts';
import { type StepBytes, statedBandwidth, stepBytes } from './traffic.ts';

export interface ScalingResult {
  readonly model: string;
  readonly precision: Precision;
  readonly weights: 'published' | 'random';
  config: ModelConfig | null;
  /** Weights, graph and session. */
  loadSeconds: number | null;
  readonly points: ScalingPoint[];
  /** Why larger batches are missing. */
  stopped: string | null;
}

/** A point beside what the device's memory allows. */
export interface LimitedPoint extends ScalingPoint {
  readonly stepBytes: StepBytes;
  /** Time that reading those bytes takes; null where the bandwidth is not known. */
  readonly limitMs: number | null;
  readonly timesLimit: number | null;
}

export interface StreamsResult<R extends Rung> {
  readonly model: string;
  readonly precision: string;
  readonly weights: 'published' | 'random';
  /** p95 of word-final latency has to stay below it. */
  readonly boundSeconds: number;
  readonly rungs: R[];
  stopped: string | null;
  /** What else is known of the run. */
  facts: Readonly<Record<string, unknown>>;
}

export interface StageResult {
  readonly name: string;
  readonly wantedSeconds: number;
  readonly grantedSeconds: number | null;
  readonly seconds: number;
  /** Null: it came to its end. */
  readonly problem: string | null;
}

const NOTES = [
  'Random weights are as fast as trained ones of the same size and say nothing of accuracy.',
  `Batches: each window has ${SCALING_WINDOW.audioSeconds} s of audio and ${SCALING_WINDOW.marginSeconds} s of silence behind it (${POSITIONS} positions), ${FORCED_TOKENS} forced tokens and exactly ${SCALING_WINDOW.tokens} decoded ones: no token ends a text. stepMs is the difference to a run of one token, a step.`,
  'Limit of a step: the decoder weights and the vocabulary once, the caches of every window once, at the bandwidth that was measured. Activations and logits are left out.',
  'Streams of recorded windows: finals as real sessions on base asked for them, at the same moments, lengths and numbers of tokens, sent to the whole engine (queue, batches, words). Random weights end a text where the recorded one ended. No sockets, no speech detector, no drafts; no searches and no retries, which a busy service gives up or seldom needs. A final is late by its own time only: the next one of its stream does not grow with it.',
  'Streams served: the whole service with published weights and real sockets, paced speech, drafts, searches; the generator runs on the same machine. Admission is off.',
  'transformers: mel in, tokens out, greedy, its own loop and caches as installed, without torch.compile; ours: PCM in, log-mel included, tokens, log-probabilities and alignment out. It pads to 30 s (1500 positions) by nature; 650 positions are a model made with as many, for an even comparison.',
];

export class Results {
  readonly scaling: ScalingResult[] = [];
  readonly replay: StreamsResult<ReplayRung>[] = [];
  readonly served: StreamsResult<ServedRung>[] = [];
  readonly peer: PeerResult = { versions: null, reason: null, points: [], stopped: [] };
  readonly stages: StageResult[] = [];
  bandwidth: number | null = null;
  readonly #options: GpuOptions;
  readonly #environment: Record<string, unknown>;
  readonly #gpu: Gpu | null;

  constructor(options: GpuOptions, environment: Record<string, unknown>, gpu: Gpu | null) {
    this.#options = options;
    this.#environment = environment;
    this.#gpu = gpu;
  }

  get hasFigures(): boolean {
    return [
      this.scaling.flatMap(({ points }) => points),
      ...this.replay.map(({ rungs }) => rungs),
      ...this.served.map(({ rungs }) => rungs),
    ]
      .flat()
      .some(() => true);
  }

  limited({ config, points, precision }: ScalingResult): LimitedPoint[] {
    if (config === null) return [];
    const bandwidth = this.bandwidth ?? this.#stated;
    return points.map((point) => {
      const bytes = stepBytes(config, precision, { batch: point.batch, positions: POSITIONS, past: FORCED_TOKENS + point.steps / 2 });
      const limitMs = bandwidth === null ? null : bytes.total / (bandwidth * 1e6);
      return { ...point, stepBytes: bytes, limitMs, timesLimit: limitMs === null || point.stepMs === null ? null : point.stepMs / limitMs };
    });
  }

  /** Windows a second of the best batch; null where none was measured. */
  bestRate(model: string, precision: Precision): number | null {
    const rates = this.scaling.filter((one) => one.model === model && one.precision === precision).flatMap(({ points }) => points);
    return rates.length === 0 ? null : Math.max(...rates.map(({ windowsPerSecond }) => windowsPerSecond));
  }

  get #stated(): number | null {
    return this.#options.device === 'cuda' && this.#gpu !== null ? statedBandwidth(this.#gpu.name) : null;
  }

  all() {
    const streams = <R extends Rung>(result: StreamsResult<R>) => ({ ...result, inTime: largestInTime(result.rungs) });
    // The command that a person gave, not the one behind it.
    const command = `bench/gpu.sh ${process.argv.slice(2).join(' ')}`.trim();
    const commit = this.#environment.commit === 'unknown' ? null : String(this.#environment.commit);
    const environment: Record<string, unknown> & { readonly commit: string | null } = { ...this.#environment, command, commit };
    return {
      environment,
      gpu: this.#gpu,
      settings: this.#options,
      notes: NOTES,
      rule: 'p95 of word-final latency below chunk + 1 s, nobody refused or lost',
      recording: typicalWindow(readRecording()),
      bandwidth: { measuredGigabytesPerSecond: this.bandwidth, statedGigabytesPerSecond: this.#stated },
      scaling: this.scaling.map((one) => ({
        model: one.model,
        precision: one.precision,
        weights: one.weights,
        parameters: one.config === null ? null : parameterCount(one.config),
        loadSeconds: one.loadSeconds,
        stopped: one.stopped,
        points: this.limited(one),
      })),
      served: this.served.map(streams),
      replay: this.replay.map(streams),
      peer: this.peer,
      stages: this.stages,
    };
  }

  /** @returns the file that was written */
  async write(): Promise<string> {
    const { device, out } = this.#options;
    const all = this.all();
    const dir = out ?? fileURLToPath(new URL('../results', import.meta.url));
    await mkdir(dir, { recursive: true });
    const name = `${String(this.#environment.date).slice(0, 10)}-${all.environment.commit ?? 'nogit'}-gpu-${device}`;
    const path = join(dir, `${name}.json`);
    await writeFile(path, `${JSON.stringify(all, null, 1)}\n`);
    return path;
  }
}

export type AllResults = ReturnType<Results['all']>;

// The same streams through the service in one process and on a local Ray, in turns: what the processes and hops between them cost.

import { setTimeout as delay } from 'node:timers/promises';
import { type Quantiles, quantiles } from '../capacity/latency.ts';
import { type LoadGenerator, usedBetween } from '../capacity/load.ts';
import type { CapacityOptions } from '../capacity/options.ts';
import { type PcmClip, planStream, staggerMs } from '../capacity/plan.ts';
import { jobOf, lastTextMs, warmUp } from '../capacity/step.ts';
import { type RunningSystem, startSystem } from '../capacity/systems.ts';
import { type HopQuantiles, hopQuantiles, parseHop } from './hop.ts';

const IDLE_SECONDS = 10;

export interface Side {
  readonly cpuPerAudioSecond: number;
  readonly wordFinalSeconds: Quantiles;
  readonly residentMB: number;
}

export interface Overhead {
  readonly streams: number;
  readonly ours: Side;
  readonly ray: Side;
  /** Streams whose text was the same. */
  readonly sameText: number;
  /** Of the same words on both, in milliseconds: positive where they came later on Ray. */
  readonly laterMs: Quantiles;
  readonly hop: HopQuantiles;
  /** Of the processor time, Ray over one process; and the same without what Ray takes when there is nothing to do. */
  readonly cpuRatio: number;
  readonly cpuRatioWithoutIdle: number;
}

interface Measured extends Side {
  readonly texts: readonly string[];
  readonly latencies: readonly (readonly number[])[];
  readonly hop: HopQuantiles;
  readonly cpuSeconds: number;
  readonly audioSeconds: number;
  readonly wallSeconds: number;
}

export interface OverheadParts {
  readonly options: CapacityOptions;
  readonly generator: LoadGenerator;
  readonly clips: readonly PcmClip[];
  readonly progress: (text: string) => void;
}

export interface Round {
  /** Cores that the processes of Ray take when nothing is asked of them. */
  readonly idleCores: number;
  readonly steps: readonly Overhead[];
}

/** Both systems, one after the other; which goes first depends on the round. */
export async function overheadRound(parts: OverheadParts, round: number): Promise<Round> {
  const order = round % 2 === 0 ? (['ours', 'ray'] as const) : (['ray', 'ours'] as const);
  const measured = new Map<string, { idleCores: number; steps: Measured[] }>();
  for (const name of order) measured.set(name, await measureAll(name, parts));
  const [ours, ray] = [measured.get('ours')!, measured.get('ray')!];
  return {
    idleCores: Number(ray.idleCores.toFixed(3)),
    steps: parts.options.streams.map((streams, index) => compare(streams, ours.steps[index]!, ray.steps[index]!, ray.idleCores)),
  };
}

async function measureAll(name: 'ours' | 'ray', parts: OverheadParts): Promise<{ idleCores: number; steps: Measured[] }> {
  const { clips, generator, options, progress } = parts;
  progress(`${name}: starting`);
  const system = await startSystem(name, { options, python: '', whisperLivePython: null, modelFolder: '' });
  try {
    await warmUp(generator, options, system, clips);
    const before = system.usage().cpuSeconds;
    await delay(IDLE_SECONDS * 1000);
    const idleCores = (system.usage().cpuSeconds - before) / IDLE_SECONDS;
    const steps: Measured[] = [];
    for (const streams of options.streams) steps.push(await measure(system, streams, parts));
    return { idleCores, steps };
  } finally {
    await system.stop();
  }
}

async function measure(system: RunningSystem, streams: number, { clips, generator, options, progress }: OverheadParts): Promise<Measured> {
  const plans = Array.from({ length: streams }, (_, index) => planStream(clips, index, options.seconds));
  const offsets = staggerMs(streams, options.chunkSeconds);
  const orders = plans.map((plan, index) => ({ plan, connectAfterMs: offsets[index]!, audioAfterMs: offsets[index]! }));
  const metrics = async (): Promise<string> => (await fetch(`${system.url.replace('ws', 'http')}/metrics`)).text();
  const hopBefore = parseHop(await metrics());
  // No drafts: how many there are depends on the pace, and each takes its time
  const job = jobOf(options, system, orders, { interimResults: false });
  const load = await generator.run(system, job, (seconds) => progress(`${system.name}, ${streams}: ${seconds} s`));
  const hop = hopQuantiles(hopBefore, parseHop(await metrics()));
  for (const { failure, state } of load.streams) if (state !== 'done') throw new Error(`${system.name}: a stream was ${state}: ${failure}`);
  const endMs = lastTextMs(load);
  const { cpuSeconds } = usedBetween(load.usage, load.startedMs, endMs);
  const audioSeconds = load.streams.reduce((sum, stream) => sum + stream.audioSeconds, 0);
  return {
    texts: load.streams.map(({ text }) => text),
    latencies: load.streams.map(({ wordLatencySeconds }) => wordLatencySeconds),
    hop,
    cpuSeconds,
    audioSeconds,
    wallSeconds: (endMs - load.startedMs) / 1000,
    cpuPerAudioSecond: Number((cpuSeconds / audioSeconds).toFixed(4)),
    wordFinalSeconds: quantiles(load.streams.flatMap(({ wordLatencySeconds }) => wordLatencySeconds)),
    residentMB: Math.round(Math.max(...load.usage.map(({ residentBytes }) => residentBytes)) / 2 ** 20),
  };
}

const sideOf = ({ cpuPerAudioSecond, residentMB, wordFinalSeconds }: Measured): Side => ({
  cpuPerAudioSecond,
  residentMB,
  wordFinalSeconds,
});

function compare(streams: number, ours: Measured, ray: Measured, idleCores: number): Overhead {
  const same = ours.texts.map((text, index) => text === ray.texts[index] && ours.latencies[index]?.length === ray.latencies[index]?.length);
  const later = ours.latencies.flatMap((latencies, index) =>
    same[index] ? latencies.map((latency, word) => 1000 * (ray.latencies[index]![word]! - latency)) : [],
  );
  const ratio = (seconds: number): number => Number((seconds / ours.cpuSeconds).toFixed(3));
  return {
    streams,
    ours: sideOf(ours),
    ray: sideOf(ray),
    sameText: same.filter(Boolean).length,
    laterMs: quantiles(later, 1),
    hop: ray.hop,
    cpuRatio: ratio(ray.cpuSeconds),
    cpuRatioWithoutIdle: ratio(ray.cpuSeconds - idleCores * ray.wallSeconds),
  };
}

// What is measured, in order of worth: what stands first gets its time even where there is little.

import { fileURLToPath } from 'node:url';
import type { Precision } from '../../src/model/graph-layers.ts';
import type { Stage } from './budget.ts';
import { runChild } from './child.ts';
import { startCount } from './ladder.ts';
import type { GpuOptions } from './options.ts';
import { measurePeer } from './peer.ts';
import { readRecording, typicalWindow } from './recorded.ts';
import type { ReplayRung } from './replay.ts';
import type { Results, ScalingResult, StreamsResult } from './results.ts';
import { measureServed, type ServedRung, servedPrecision } from './served.ts';
import { parameterCount, type ShapeName, shapeOf } from './shapes.ts';
import type { StageJob, StageReport } from './stage-worker.ts';

export interface RunParts {
  readonly options: GpuOptions;
  /** Folder with published weights of base; null: there are none. */
  readonly baseDir: string | null;
  readonly workDir: string;
  readonly results: Results;
  readonly progress: (text: string) => void;
  readonly signal: AbortSignal;
}

export interface RunStage extends Stage {
  /** Resolves with what kept it from its end; null: nothing did. */
  readonly run: (seconds: number) => Promise<string | null>;
}

/** A process that should have ended by itself is ended so long after its time. */
const GRACE_SECONDS = 5;
/** More than one process serves, and than one generator can play. */
const [MOST_REPLAYED, MOST_SERVED] = [8192, 2000] as const;
/** Of a word beyond a chunk: what p95 may come to. */
const ALLOWANCE_SECONDS = 1;
/** Rungs of a whole ladder, and those that tell whether there is one. */
const [WANTED_RUNGS, LEAST_RUNGS] = [5, 2] as const;
/** What a rung takes beside its audio: starts that are spread over a chunk, and the last answers. */
const RUNG_OVERHEAD_SECONDS = 4;
/** Writing and loading weights, for each thousand million of them. */
const SECONDS_PER_BILLION = 45;

export function stagesOf(parts: RunParts): RunStage[] {
  const { baseDir, options } = parts;
  const { measures, models } = options;
  const [precision, ...others] = options.precisions as readonly [Precision, ...Precision[]];
  const wants = (measure: (typeof measures)[number]): boolean => measures.includes(measure);
  const withWeights = models.filter((model) => model === 'base' && baseDir !== null);
  const isServed = (model: ShapeName): boolean => wants('served') && withWeights.includes(model);
  const scalingOf = (of: Precision, isExtra: boolean): RunStage[] =>
    wants('scaling') ? models.map((model) => scalingStage(parts, model, of, isExtra)) : [];
  const replayOf = (isExtra: boolean): RunStage[] =>
    wants('streams')
      ? models.filter((model) => isServed(model) === isExtra).map((model) => replayStage(parts, model, precision, isExtra))
      : [];
  return [
    ...(wants('scaling') ? [bandwidthStage(parts)] : []),
    ...scalingOf(precision, false),
    ...(isServed('base') ? [servedStage(parts, 'base', baseDir as string)] : []),
    ...replayOf(false),
    ...(wants('peer') ? [peerStage(parts)] : []),
    // Both ways for one model: what the whole service adds to its engine.
    ...replayOf(true),
    ...others.flatMap((other) => scalingOf(other, true)),
  ];
}

const billions = (model: ShapeName): number => parameterCount(shapeOf(model)) / 1e9;
const loadSeconds = (model: ShapeName): number => 6 + SECONDS_PER_BILLION * billions(model);

function bandwidthStage(parts: RunParts): RunStage {
  const { options, progress, results, workDir } = parts;
  return {
    name: 'memory bandwidth',
    wantedSeconds: 20,
    leastSeconds: 8,
    isExtra: false,
    run: (seconds) =>
      inChild(parts, { stage: 'bandwidth', from: options.from, device: options.device, dir: workDir }, seconds, (line) => {
        if (line.kind !== 'bandwidth') return;
        results.bandwidth = line.gigabytesPerSecond;
        progress(`memory: ${line.gigabytesPerSecond.toFixed(0)} GB/s`);
      }),
  };
}

function scalingStage(parts: RunParts, model: ShapeName, precision: Precision, isExtra: boolean): RunStage {
  const { baseDir, options, progress, results, workDir } = parts;
  const modelDir = model === 'base' ? baseDir : null;
  const { batches, device, from } = options;
  const name = `${model} ${precision}, batches`;
  return {
    name,
    wantedSeconds: loadSeconds(model) + 2.5 * batches.length + 20 * billions(model),
    leastSeconds: loadSeconds(model) + 1.2 * batches.length,
    isExtra,
    async run(seconds) {
      const weights = modelDir === null ? 'random' : 'published';
      const result: ScalingResult = { model, precision, weights, config: null, loadSeconds: null, points: [], stopped: null };
      results.scaling.push(result);
      const problem = await inChild(
        parts,
        { stage: 'scaling', from, device, model, modelDir, precision, workDir, batches, seconds },
        seconds,
        (line) => {
          if (line.kind === 'loaded' && 'config' in line) {
            result.config = line.config;
            result.loadSeconds = line.seconds;
            progress(`${name}: loaded after ${line.seconds.toFixed(1)} s`);
          } else if (line.kind === 'scaling') {
            result.points.push(line);
            progress(
              `${name}: ${line.batch}: ${line.runMs.toFixed(1)} ms, step ${line.stepMs?.toFixed(2) ?? '-'} ms, ${line.windowsPerSecond.toFixed(1)} windows/s`,
            );
          } else if (line.kind === 'stopped' && 'batch' in line) result.stopped = `batch ${line.batch}: ${line.reason}`;
        },
      );
      return problem ?? result.stopped ?? nothingOf(result.points);
    },
  };
}

function replayStage(parts: RunParts, model: ShapeName, precision: Precision, isExtra: boolean): RunStage {
  const { options, progress, results, workDir } = parts;
  const { device, deviceMemory, engines, from, maxBatch, rungSeconds } = options;
  const boundSeconds = readRecording().chunkSeconds + ALLOWANCE_SECONDS;
  const name = `${model} ${precision}, streams of recorded windows`;
  const rungsSeconds = (rungs: number): number => rungs * (rungSeconds + RUNG_OVERHEAD_SECONDS);
  return {
    name,
    wantedSeconds: loadSeconds(model) + rungsSeconds(WANTED_RUNGS),
    leastSeconds: loadSeconds(model) + rungsSeconds(LEAST_RUNGS),
    isExtra,
    async run(seconds) {
      const result: StreamsResult<ReplayRung> = { model, precision, weights: 'random', boundSeconds, rungs: [], stopped: null, facts: {} };
      results.replay.push(result);
      const start = predictedStart(parts, model, precision);
      const job = {
        from,
        device,
        model,
        modelDir: null,
        precision,
        workDir,
        engines,
        maxBatch,
        deviceMemory,
        rungSeconds,
        seconds,
      } as const;
      const bounds = { start, most: options.maxStreams ?? MOST_REPLAYED, boundSeconds };
      const problem = await inChild(parts, { stage: 'replay', ...job, ...bounds }, seconds, (line) => {
        if (line.kind === 'loaded' && 'engines' in line)
          result.facts = { loadSeconds: line.seconds, engines: line.engines, deviceMemoryMiB: line.deviceMemoryMiB };
        else if (line.kind === 'rung') {
          result.rungs.push(line);
          progress(`${name}: ${line.streams}: words final p95 ${line.wordFinalSeconds.p95} s${line.inTime ? '' : ', LATE'}`);
        } else if (line.kind === 'stopped' && 'streams' in line) result.stopped = `${line.streams} streams: ${line.reason}`;
      });
      return problem ?? result.stopped ?? nothingOf(result.rungs);
    },
  };
}

function servedStage(parts: RunParts, model: ShapeName, modelDir: string): RunStage {
  const { options, progress, results, signal, workDir } = parts;
  const name = `${model}, streams served`;
  const precision = servedPrecision(options);
  const rungsSeconds = (rungs: number): number => rungs * (options.rungSeconds + options.chunkSeconds + RUNG_OVERHEAD_SECONDS);
  const boundSeconds = options.chunkSeconds + ALLOWANCE_SECONDS;
  const warmUpSeconds = 15 + options.chunkSeconds;
  return {
    name,
    wantedSeconds: loadSeconds(model) + warmUpSeconds + rungsSeconds(WANTED_RUNGS),
    leastSeconds: loadSeconds(model) + warmUpSeconds + rungsSeconds(LEAST_RUNGS),
    isExtra: false,
    async run(seconds) {
      const result: StreamsResult<ServedRung> = {
        model,
        precision,
        weights: 'published',
        boundSeconds,
        rungs: [],
        stopped: null,
        facts: {},
      };
      results.served.push(result);
      const start = Math.min(64, predictedStart(parts, model, options.precisions[0]!));
      const job = {
        options,
        modelDir,
        workDir,
        start,
        most: options.maxStreams ?? MOST_SERVED,
        boundSeconds,
        seconds,
        signal,
      };
      const { stopped, ...facts } = await measureServed(job, (rung) => {
        result.rungs.push(rung);
        progress(`${name}: ${rung.streams}: words final p95 ${rung.wordFinalSeconds.p95} s${rung.inTime ? '' : ', LATE'}`);
      });
      result.stopped = stopped;
      result.facts = facts;
      return stopped ?? nothingOf(result.rungs);
    },
  };
}

function peerStage({ options, progress, results, signal }: RunParts): RunStage {
  return {
    name: 'transformers',
    wantedSeconds: 20 + 30 * options.models.length,
    leastSeconds: 15 + 10 * options.models.length,
    isExtra: false,
    run: (seconds) => measurePeer(options, { seconds, graceSeconds: GRACE_SECONDS, signal }, results.peer, progress),
  };
}

/** Where a ladder begins, by what batches came to. */
function predictedStart({ options, results }: RunParts, model: ShapeName, precision: Precision): number {
  const rate = results.bestRate(model, precision);
  const unknown = options.device === 'cpu' ? 1 : 16;
  return rate === null ? unknown : startCount(rate * typicalWindow(readRecording()).everySeconds);
}

const nothingOf = (found: readonly unknown[]): string | null => (found.length === 0 ? 'nothing was measured' : null);

async function inChild({ signal }: RunParts, job: StageJob, seconds: number, onLine: (line: StageReport) => void): Promise<string | null> {
  const worker = fileURLToPath(new URL('stage-worker.ts', import.meta.url));
  const args = ['--import', 'tsx', worker, JSON.stringify(job)];
  const { problem } = await runChild<StageReport>(
    { command: process.execPath, args, timeoutSeconds: seconds + GRACE_SECONDS, signal },
    onLine,
  );
  return problem;
}

// Makes the local Transcriber of a model folder: reads its configuration, builds its graphs where they are missing, loads and warms engines.

import { availableParallelism } from 'node:os';
import { SAMPLE_RATE } from '../core/units.ts';
import { areGraphsBuilt } from '../model/build-graphs.ts';
import { readModelConfig } from '../model/config.ts';
import type { Precision } from '../model/graph-layers.ts';
import { type Device, GRAPH_FORMS } from './device.ts';
import { mostPositions } from './device-memory.ts';
import { type EngineAnswer, type EngineThread, openAllThreads, openEngineThread } from './engine-thread.ts';
import type { EngineWorkerData } from './engine-worker.ts';
import { engineSeconds } from './load-meter.ts';
import { type TranscriberListeners, transcriberOver } from './local-transcriber.ts';
import { DEFAULT_RULES, type DecodingRules } from './rules.ts';
import { spawnWorker } from './spawn-worker.ts';
import type { Transcriber } from './transcriber.ts';
import type { WindowQueueOptions } from './window-queue.ts';

export interface TranscriberOptions extends TranscriberListeners, Pick<WindowQueueOptions, 'maxWaitSeconds'> {
  /** Folder with weights, config.json and tokenizer.json. */
  readonly modelDir: string;
  /** The name that clients see. @default the folder's name */
  readonly modelName?: string;
  /** Folder where built graphs are kept; made if missing. */
  readonly graphsDir: string;
  /** @default 'cpu' */
  readonly device?: Device;
  /** @default 'int8' on the processor, 'float16' on a device */
  readonly precision?: Precision;
  /** Bytes of the device's memory that all engines may take together. @default DEFAULT_DEVICE_MEMORY_BYTES */
  readonly deviceMemoryBytes?: number;
  /**
   * Windows computed side by side, each by a thread with its own copy of the model.
   * @default as many as the cores have room for, at most 4; 2 on a device, which one keeps busy while the other turns texts into words
   */
  readonly engines?: number;
  /** Threads of one engine's operations: more answer one window sooner, and fewer windows in all. @default 1 */
  readonly threads?: number;
  /** Most windows that one engine decodes together. @default 4, 32 on a device */
  readonly maxBatch?: number;
  /** Most windows that wait or run; at least twice what the engines hold. @default 64 */
  readonly maxQueue?: number;
  readonly rules?: Partial<DecodingRules>;
}

const MOST_DEFAULT_ENGINES = 4;
const DEVICE_ENGINES = 2;
const DEFAULT_BATCH = 4;
const DEVICE_BATCH = 32;
/** What a device is taken to have where nobody knows. */
export const DEFAULT_DEVICE_MEMORY_BYTES = 4 * 2 ** 30;
const LEAST_DEFAULT_QUEUE = 64;
/** Of the warm-up's window: a short one, or it would cost each engine's start another 0.1 s. */
const WARM_UP_SECONDS = 3;
/** Of a live final: left context and a chunk of 5 s. */
const FINAL_SECONDS = 10;
/** Windows of files that may be in a device's batch while there are streams, as a share of it. */
const LIVE_FILES_SHARE = 1 / 8;

/** Resolves when the model is loaded and warm: its first request is as fast as its second. */
export async function createTranscriber(options: TranscriberOptions): Promise<Transcriber> {
  const { device = 'cpu', deviceMemoryBytes = DEFAULT_DEVICE_MEMORY_BYTES, graphsDir, maxWaitSeconds, modelDir, threads = 1 } = options;
  const isDevice = device !== 'cpu';
  const { maxBatch = isDevice ? DEVICE_BATCH : DEFAULT_BATCH, precision = isDevice ? 'float16' : 'int8' } = options;
  const cores = Math.min(MOST_DEFAULT_ENGINES, Math.max(1, Math.floor(availableParallelism() / threads)));
  const engines = options.engines ?? (isDevice ? DEVICE_ENGINES : cores);
  const read = await readModelConfig(modelDir);
  const config = options.modelName === undefined ? read : { ...read, name: options.modelName };
  const rules = { ...DEFAULT_RULES, ...options.rules };
  const maxPositions = isDevice ? mostPositions(config, precision, deviceMemoryBytes / engines) : 0;
  const data = { model: { modelDir, config, precision, graphsDir }, device, threads, maxBatch, maxPositions, rules };
  const opened = await openEngines(engines, data, options);
  try {
    const warmUps = await Promise.all(
      opened.map((thread) => (isDevice && maxBatch > 1 ? warmUpBatches(thread, maxBatch) : warmUp(thread, rules))),
    );
    const warmUpSeconds = warmUps.reduce((sum, seconds) => sum + seconds, 0) / warmUps.length;
    // A device's engine holds a batch that runs and the next one.
    const held = isDevice ? 2 * maxBatch : maxBatch;
    const batches = isDevice && { busyWithStreams: maxBatch, liveFiles: Math.ceil(LIVE_FILES_SHARE * maxBatch) };
    const maxQueue = Math.max(options.maxQueue ?? LEAST_DEFAULT_QUEUE, 2 * engines * held);
    return transcriberOver(opened, config, { maxBatch: held, ...batches, maxQueue, maxWaitSeconds, warmUpSeconds }, options);
  } catch (error) {
    await Promise.all(opened.map((thread) => thread.close()));
    throw error;
  }
}

async function openEngines(count: number, data: EngineWorkerData, { onMessage }: TranscriberListeners): Promise<EngineThread[]> {
  const open = (): Promise<EngineThread> => openEngineThread(spawnWorker('engine-worker', data), onMessage);
  const haveGraphs = await areGraphsBuilt(data.model, GRAPH_FORMS[data.device]);
  const first = open();
  // One builds; beside it the others would build the same.
  if (!haveGraphs) await first;
  return openAllThreads([first, ...Array.from({ length: count - 1 }, open)]);
}

/** Engine seconds that a final will take. Faint noise rather than silence, so that every operator of both graphs runs. */
async function warmUp(thread: EngineThread, { marginSeconds }: DecodingRules): Promise<number> {
  const { cost } = await thread.run({ pcm: faintNoise(WARM_UP_SECONDS), language: 'en' });
  return (engineSeconds(cost) * (FINAL_SECONDS + marginSeconds)) / (WARM_UP_SECONDS + marginSeconds);
}

/** Engine seconds that a final will take of a full batch: one window, then as many as fit, which also shows how many do. */
async function warmUpBatches(thread: EngineThread, maxBatch: number): Promise<number> {
  const run = (): Promise<EngineAnswer> => thread.run({ pcm: faintNoise(FINAL_SECONDS), language: 'en' });
  await run();
  const answers = await Promise.all(Array.from({ length: maxBatch }, run));
  return answers.reduce((sum, { cost }) => sum + engineSeconds(cost), 0) / answers.length;
}

const faintNoise = (seconds: number): Float32Array =>
  Float32Array.from({ length: seconds * SAMPLE_RATE }, (_, i) => 1e-3 * Math.sin(i * i));

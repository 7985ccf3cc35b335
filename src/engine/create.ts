// Makes the local Transcriber of a model folder: reads its configuration, builds its graphs where they are missing, loads and warms engines.

import { availableParallelism } from 'node:os';
import { SAMPLE_RATE } from '../core/units.ts';
import { areGraphsBuilt, type Precision } from '../model/build-graphs.ts';
import { readModelConfig } from '../model/config.ts';
import { type EngineThread, openAllThreads, openEngineThread } from './engine-thread.ts';
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
  /** @default 'int8' */
  readonly precision?: Precision;
  /** Windows computed side by side, each by a thread with its own copy of the model. @default as many as the cores have room for, at most 4 */
  readonly engines?: number;
  /** Threads of one engine's operations: more answer one window sooner, and fewer windows in all. @default 1 */
  readonly threads?: number;
  /** Most windows that one engine decodes together. @default 4 */
  readonly maxBatch?: number;
  /** Most windows that wait or run; at least twice what the engines hold. @default 64 */
  readonly maxQueue?: number;
  readonly rules?: Partial<DecodingRules>;
}

const MOST_DEFAULT_ENGINES = 4;
const LEAST_DEFAULT_QUEUE = 64;
/** Of the warm-up's window: a short one, or it would cost each engine's start another 0.1 s. */
const WARM_UP_SECONDS = 3;
/** Of a live final: left context and a chunk of 5 s. */
const FINAL_SECONDS = 10;

/** Resolves when the model is loaded and warm: its first request is as fast as its second. */
export async function createTranscriber(options: TranscriberOptions): Promise<Transcriber> {
  const { graphsDir, maxBatch = 4, maxWaitSeconds, modelDir, precision = 'int8', threads = 1 } = options;
  const engines = options.engines ?? Math.min(MOST_DEFAULT_ENGINES, Math.max(1, Math.floor(availableParallelism() / threads)));
  const maxQueue = Math.max(options.maxQueue ?? LEAST_DEFAULT_QUEUE, 2 * engines * maxBatch);
  const read = await readModelConfig(modelDir);
  const config = options.modelName === undefined ? read : { ...read, name: options.modelName };
  const rules = { ...DEFAULT_RULES, ...options.rules };
  const opened = await openEngines(engines, { model: { modelDir, config, precision, graphsDir }, threads, maxBatch, rules }, options);
  try {
    const warmUps = await Promise.all(opened.map((thread) => warmUp(thread, rules)));
    const warmUpSeconds = warmUps.reduce((sum, seconds) => sum + seconds, 0) / warmUps.length;
    return transcriberOver(opened, config, { maxBatch, maxQueue, maxWaitSeconds, warmUpSeconds }, options);
  } catch (error) {
    await Promise.all(opened.map((thread) => thread.close()));
    throw error;
  }
}

async function openEngines(count: number, data: EngineWorkerData, { onMessage }: TranscriberListeners): Promise<EngineThread[]> {
  const open = (): Promise<EngineThread> => openEngineThread(spawnWorker('engine-worker', data), onMessage);
  const haveGraphs = await areGraphsBuilt(data.model);
  const first = open();
  // One builds; beside it the others would build the same.
  if (!haveGraphs) await first;
  return openAllThreads([first, ...Array.from({ length: count - 1 }, open)]);
}

/** Engine seconds that a final will take. Faint noise rather than silence, so that every operator of both graphs runs. */
async function warmUp(thread: EngineThread, { marginSeconds }: DecodingRules): Promise<number> {
  const pcm = Float32Array.from({ length: WARM_UP_SECONDS * SAMPLE_RATE }, (_, i) => 1e-3 * Math.sin(i * i));
  const { cost } = await thread.run({ pcm, language: 'en' });
  return (engineSeconds(cost) * (FINAL_SECONDS + marginSeconds)) / (WARM_UP_SECONDS + marginSeconds);
}

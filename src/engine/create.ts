// Makes the local Transcriber of a model folder: reads its configuration, builds its graphs where they are missing, loads it.

import { availableParallelism } from 'node:os';
import type { WhisperError } from '../core/errors.ts';
import type { Precision } from '../model/build-graphs.ts';
import { readModelConfig } from '../model/config.ts';
import { createLocalTranscriber } from './local-transcriber.ts';
import { DEFAULT_RULES, type DecodingRules } from './rules.ts';
import type { Transcriber } from './transcriber.ts';

export interface TranscriberOptions {
  /** Folder with weights, config.json and tokenizer.json. */
  readonly modelDir: string;
  /** The name that clients see. @default the folder's name */
  readonly modelName?: string;
  /** Folder where built graphs are kept; made if missing. */
  readonly graphsDir: string;
  /** @default 'int8' */
  readonly precision?: Precision;
  /** Threads of one operation. @default the machine's cores, at most 4: more gain little on windows of some seconds */
  readonly threads?: number;
  /** Most windows decoded together. @default 4 */
  readonly maxBatch?: number;
  /** Most windows that wait or run. @default 64 */
  readonly maxQueue?: number;
  readonly rules?: Partial<DecodingRules>;
  /** Told in words of long work, such as building graphs. */
  readonly onMessage?: (message: string) => void;
  /** Told once when the engine's thread died: every request is refused from then on. */
  readonly onFailure?: (error: WhisperError) => void;
}

const MOST_DEFAULT_THREADS = 4;

/** Resolves when the model is loaded and warm: its first request is as fast as its second. */
export async function createTranscriber(options: TranscriberOptions): Promise<Transcriber> {
  const { modelDir, graphsDir, precision = 'int8', onMessage } = options;
  const read = await readModelConfig(modelDir);
  const config = options.modelName === undefined ? read : { ...read, name: options.modelName };
  const transcriber = await createLocalTranscriber(
    {
      model: { modelDir, config, precision, graphsDir },
      threads: options.threads ?? Math.min(MOST_DEFAULT_THREADS, availableParallelism()),
      maxBatch: options.maxBatch ?? 4,
      maxQueue: options.maxQueue ?? 64,
      rules: { ...DEFAULT_RULES, ...options.rules },
    },
    { onMessage, onFailure: options.onFailure },
  );
  // Faint noise rather than silence, so that every operator of both graphs runs.
  await transcriber.transcribe({ pcm: Float32Array.from({ length: 16_000 }, (_, i) => 1e-3 * Math.sin(i * i)), language: 'en' });
  return transcriber;
}

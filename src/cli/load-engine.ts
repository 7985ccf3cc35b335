// Puts the engine together: finds the model, builds and loads its graphs, with progress for the user.

import { join } from 'node:path';
import type { WhisperError } from '../core/errors.ts';
import { createTranscriber } from '../engine/create.ts';
import type { TranscriberListeners } from '../engine/local-transcriber.ts';
import { createSpeechDetector } from '../engine/speech-detector.ts';
import { locateModel } from '../model/locate.ts';
import type { EngineParts } from '../server/readiness.ts';
import { modelAccess } from './environment.ts';
import type { ModelOptions } from './options.ts';
import type { ProgressDisplay } from './progress.ts';

export interface LoadedEngine extends EngineParts {
  close(): Promise<void>;
}

export interface LoadOptions extends ModelOptions, Pick<TranscriberListeners, 'onWindow' | 'onQueue'> {
  /** Most windows that wait or run. @default the engine's */
  readonly maxQueue?: number;
  /** Told when a thread of the loaded engine died: it can do nothing any more. */
  readonly onFailure?: (error: WhisperError) => void;
}

/** Resolves when the engine is warm. An abort is heeded while a model is downloaded. */
export async function loadEngine(options: LoadOptions, progress: ProgressDisplay, signal: AbortSignal): Promise<LoadedEngine> {
  const { cache, engines, maxBatch, maxQueue, onFailure, onQueue, onWindow, precision, threads } = options;
  const located = await locateModel(options.model, {
    cacheDir: cache,
    ...modelAccess(),
    onProgress: progress.download,
    onMessage: progress.message,
    signal,
  });
  progress.stop();
  signal.throwIfAborted();
  const transcriber = await createTranscriber({
    modelDir: located.dir,
    modelName: located.name,
    graphsDir: join(cache, 'graphs'),
    precision,
    maxBatch,
    threads,
    ...(engines !== undefined && { engines }),
    ...(maxQueue !== undefined && { maxQueue }),
    onMessage: progress.message,
    onFailure,
    onWindow,
    onQueue,
  });
  try {
    const speechDetector = await createSpeechDetector(onFailure === undefined ? {} : { onFailure });
    return {
      transcriber,
      speechDetector,
      close: async () => {
        await Promise.all([transcriber.close(), speechDetector.close()]);
      },
    };
  } catch (error) {
    await transcriber.close();
    throw error;
  }
}

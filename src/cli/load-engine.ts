// Puts the engine together: finds the model, builds and loads its graphs, with progress for the user; or finds engines that run elsewhere.

import { join } from 'node:path';
import type { WhisperError } from '../core/errors.ts';
import { createTranscriber, DEFAULT_DEVICE_MEMORY_BYTES } from '../engine/create.ts';
import { chooseDevice, type Device } from '../engine/device.ts';
import type { TranscriberListeners } from '../engine/local-transcriber.ts';
import { connectRemoteTranscriber, type RemoteTranscriber, type RemoteTranscriberOptions } from '../engine/remote-transcriber.ts';
import { createSpeechDetector } from '../engine/speech-detector.ts';
import type { Transcriber } from '../engine/transcriber.ts';
import { locateModel } from '../model/locate.ts';
import type { EngineParts } from '../server/readiness.ts';
import { usableGpuMemory } from './device-memory.ts';
import { modelAccess } from './environment.ts';
import type { ModelOptions } from './options.ts';
import type { ProgressDisplay } from './progress.ts';

const MIB = 1024 * 1024;

export interface LoadedEngine<T extends Transcriber = Transcriber> extends EngineParts {
  readonly transcriber: T;
  close(): Promise<void>;
}

interface FailureListener {
  /** Told when a thread of the loaded engine died: it can do nothing any more. */
  readonly onFailure?: (error: WhisperError) => void;
}

export interface LoadOptions extends ModelOptions, FailureListener, Pick<TranscriberListeners, 'onWindow' | 'onQueue' | 'onOutOfMemory'> {
  /** Most windows that wait or run. @default the engine's */
  readonly maxQueue?: number;
}

/** Resolves when the engine is warm. An abort is heeded while a model is downloaded. */
export async function loadEngine(options: LoadOptions, progress: ProgressDisplay, signal: AbortSignal): Promise<LoadedEngine> {
  return withDetector(await loadTranscriber(options, progress, signal), options);
}

/** Resolves when engines answer at the address. */
export async function connectEngine(
  options: RemoteTranscriberOptions & FailureListener,
  progress: ProgressDisplay,
  signal: AbortSignal,
): Promise<LoadedEngine<RemoteTranscriber>> {
  return withDetector(await connectRemoteTranscriber(options, signal, progress.message), options);
}

/** The engine without what finds speech in streams and files. */
export async function loadTranscriber(options: LoadOptions, progress: ProgressDisplay, signal: AbortSignal): Promise<Transcriber> {
  const { cache, engines, maxBatch, maxQueue, onFailure, onOutOfMemory, onQueue, onWindow, threads } = options;
  // Before anything is downloaded: a wish that cannot be met is an error.
  const { device, precision } = await chooseDevice(options, progress.message);
  const deviceMemory = device === 'cpu' ? undefined : (options.deviceMemory ?? (await ownDeviceMemory(device, options.deviceShare)));
  const located = await locateModel(options.model, {
    cacheDir: cache,
    ...modelAccess(),
    onProgress: progress.download,
    onMessage: progress.message,
    signal,
  });
  progress.stop();
  signal.throwIfAborted();
  return createTranscriber({
    modelDir: located.dir,
    modelName: located.name,
    graphsDir: join(cache, 'graphs'),
    device,
    precision,
    threads,
    ...(deviceMemory !== undefined && { deviceMemoryBytes: deviceMemory * MIB }),
    ...(maxBatch !== undefined && { maxBatch }),
    ...(engines !== undefined && { engines }),
    ...(maxQueue !== undefined && { maxQueue }),
    onMessage: progress.message,
    onFailure,
    onWindow,
    onQueue,
    onOutOfMemory,
  });
}

/** MiB that this process may use of a device, as far as somebody knows. */
async function ownDeviceMemory(device: Device, share = 1): Promise<number> {
  const known = device === 'cuda' ? await usableGpuMemory(process.env.CUDA_VISIBLE_DEVICES, share) : undefined;
  return known ?? (share * DEFAULT_DEVICE_MEMORY_BYTES) / MIB;
}

async function withDetector<T extends Transcriber>(transcriber: T, { onFailure }: FailureListener): Promise<LoadedEngine<T>> {
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

// `asr`: the model as a service of its own, for servers that were started with --asr.

import { Registry } from 'prom-client';
import type { Transcriber } from '../engine/transcriber.ts';
import { createAsrServer } from '../server/asr-server.ts';
import { createEngineMetrics } from '../server/engine-metrics.ts';
import { loadTranscriber } from './load-engine.ts';
import { type ListenOptions, logOf, type ModelOptions } from './options.ts';
import type { ProgressDisplay } from './progress.ts';
import { runService } from './run-service.ts';

export interface AsrOptions extends ModelOptions, ListenOptions {
  readonly maxQueue: number;
}

/** Resolves after the signal has aborted and all is drained; rejects where it cannot start, or when the engine dies. */
export async function serveAsr(options: AsrOptions, progress: ProgressDisplay, signal: AbortSignal): Promise<void> {
  const registry = new Registry();
  let loaded: Transcriber | undefined;
  const metrics = createEngineMetrics(registry, () => loaded?.load() ?? null);
  await runService<Transcriber>(
    {
      what: `loading model ${options.model}`,
      options,
      async listen(transcriber, address) {
        const server = await createAsrServer({ transcriber, registry, address, log: logOf(options) });
        return { port: server.port, close: () => server.close({ deadlineMs: options.shutdownSeconds * 1000 }) };
      },
      async load(onFailure) {
        const listeners = { onFailure, onWindow: metrics.windowLeft, onQueue: metrics.queueChanged, onOutOfMemory: metrics.outOfMemory };
        loaded = await loadTranscriber({ ...options, ...listeners }, progress, signal);
        return loaded;
      },
      describe: ({ info }) => `model ${info.name}`,
      unload: (transcriber) => transcriber.close(),
    },
    progress,
    signal,
  );
}

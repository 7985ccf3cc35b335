// `serve`: the whole service in one process, or all of it but the model.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Registry } from 'prom-client';
import type { RemoteTranscriber } from '../engine/remote-transcriber.ts';
import { createEngineMetrics } from '../server/engine-metrics.ts';
import { createRemoteMetrics } from '../server/remote-metrics.ts';
import { createServer } from '../server/server.ts';
import { connectEngine, type LoadedEngine, loadEngine } from './load-engine.ts';
import { type ListenOptions, logOf, type ModelOptions } from './options.ts';
import type { ProgressDisplay } from './progress.ts';
import { runService, type Service } from './run-service.ts';

export interface ServeOptions extends ModelOptions, ListenOptions {
  /** Where engines answer; undefined: in this process. */
  readonly asr?: string;
  readonly maxQueue: number;
  readonly maxSessions: number;
  readonly admitAll: boolean;
  readonly maxContainerStreams: number;
  readonly maxFiles: number;
  readonly maxUploadMb: number;
  readonly maxAudioSeconds: number;
  readonly maxStreamSeconds: number;
  readonly apiKey?: readonly string[];
  readonly allowedOrigin?: readonly string[];
  readonly drainSeconds: number;
}

const PAGE = fileURLToPath(new URL('../../client/streaming_client.html', import.meta.url));
const MIB = 1024 * 1024;

/** Resolves after the signal has aborted and all is drained; rejects where it cannot start, or when the engine dies. */
export async function serve(options: ServeOptions, progress: ProgressDisplay, signal: AbortSignal): Promise<void> {
  const registry = new Registry();
  await runService<LoadedEngine>(
    {
      ...engineOf(options, registry, progress, signal),
      options,
      async listen(engine, address) {
        const server = await createServer({
          engine,
          registry,
          address,
          pagePath: existsSync(PAGE) ? PAGE : null,
          limits: {
            maxSessions: options.maxSessions,
            maxContainerStreams: options.maxContainerStreams,
            maxFiles: options.maxFiles,
            maxFileBytes: options.maxUploadMb * MIB,
            maxFileSeconds: options.maxAudioSeconds,
            maxStreamSeconds: options.maxStreamSeconds,
          },
          admission: !options.admitAll,
          apiKeys: options.apiKey ?? [],
          allowedOrigins: options.allowedOrigin === undefined || options.allowedOrigin.includes('*') ? '*' : options.allowedOrigin,
          log: logOf(options),
        });
        const times = { drainMs: options.drainSeconds * 1000, deadlineMs: options.shutdownSeconds * 1000 };
        return { port: server.port, close: () => server.close(times) };
      },
      describe: ({ transcriber }) => `model ${transcriber.info.name}`,
      unload: (engine) => engine.close(),
    },
    progress,
    signal,
  );
}

/** The engine in this process or elsewhere, with its metrics. */
function engineOf(
  options: ServeOptions,
  registry: Registry,
  progress: ProgressDisplay,
  signal: AbortSignal,
): Pick<Service<LoadedEngine>, 'what' | 'load'> {
  if (options.asr === undefined) {
    let loaded: LoadedEngine | undefined;
    const metrics = createEngineMetrics(registry, () => loaded?.transcriber.load() ?? null);
    return {
      what: `loading model ${options.model}`,
      async load(onFailure) {
        const listeners = { onFailure, onWindow: metrics.windowLeft, onQueue: metrics.queueChanged, onOutOfMemory: metrics.outOfMemory };
        loaded = await loadEngine({ ...options, ...listeners }, progress, signal);
        return loaded;
      },
    };
  }
  const url = options.asr;
  let connected: LoadedEngine<RemoteTranscriber> | undefined;
  const listeners = createRemoteMetrics(registry, () => connected?.transcriber.replicaCount() ?? 0);
  return {
    what: `asking for the speech recogniser at ${url}`,
    async load(onFailure) {
      connected = await connectEngine({ url, onFailure, ...listeners }, progress, signal);
      return connected;
    },
  };
}

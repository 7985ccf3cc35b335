// `serve`: the whole service in one process. Listens at once, is ready when the model is warm, and drains on a signal.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Registry } from 'prom-client';
import type { WhisperError } from '../core/errors.ts';
import { createEngineMetrics } from '../server/engine-metrics.ts';
import type { EngineParts } from '../server/readiness.ts';
import { createServer } from '../server/server.ts';
import { createDeferred } from '../streaming/deferred.ts';
import { type LoadedEngine, loadEngine } from './load-engine.ts';
import type { ModelOptions } from './options.ts';
import type { ProgressDisplay } from './progress.ts';

export interface ServeOptions extends ModelOptions {
  readonly host: string;
  readonly port: number;
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
  readonly logLevel: string;
  readonly shutdownSeconds: number;
}

const PAGE = fileURLToPath(new URL('../../client/streaming_client.html', import.meta.url));
const MIB = 1024 * 1024;

/** Resolves after the signal has aborted and all is drained; rejects where it cannot start. */
export async function serve(options: ServeOptions, progress: ProgressDisplay, signal: AbortSignal): Promise<void> {
  const engine = createDeferred<EngineParts>();
  let loaded: LoadedEngine | undefined;
  const registry = new Registry();
  const metrics = createEngineMetrics(registry, () => loaded?.transcriber.load() ?? null);
  const server = await createServer({
    engine: engine.promise,
    registry,
    host: options.host,
    port: options.port,
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
    log: options.logLevel === 'silent' ? null : { level: options.logLevel },
  });
  const shownHost = options.host === '0.0.0.0' || options.host === '::' ? 'localhost' : options.host;
  progress.message(`Listening on http://${shownHost}:${server.port}; loading model ${options.model}.`);
  // A service whose engine died looks alive and refuses everything: it ends, and who supervises it starts it again.
  const failure = createDeferred<WhisperError>();
  const listeners = { onFailure: failure.resolve, onWindow: metrics.windowLeft, onQueue: metrics.queueChanged };
  const loading = loadEngine({ ...options, ...listeners }, progress, signal).then((parts) => {
    loaded = parts;
    engine.resolve(parts);
    if (!signal.aborted) progress.message(`Ready: model ${parts.transcriber.info.name} on http://${shownHost}:${server.port}`);
  });
  try {
    // a signal is heeded at once: loading, if it is not done by then, ends with the process
    await Promise.race([loading, aborted(signal)]);
    const failed = await Promise.race([aborted(signal), failure.promise]);
    if (failed !== undefined) throw failed;
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await server.close({ deadlineMs: options.shutdownSeconds * 1000 });
    await loaded?.close();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });
}

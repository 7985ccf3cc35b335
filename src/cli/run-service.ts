// What the commands that serve have in common: they listen while the engine loads, are ready when it is warm, and drain on a signal.

import type { WhisperError } from '../core/errors.ts';
import type { ListenAddress } from '../server/app.ts';
import { createDeferred, type Deferred } from '../streaming/deferred.ts';
import type { ListenOptions } from './options.ts';
import type { ProgressDisplay } from './progress.ts';

export interface Service<T> {
  /** What is loading, for the user. */
  readonly what: string;
  readonly options: ListenOptions;
  /** Resolves when it listens. @param engine to be awaited for requests */
  readonly listen: (engine: Promise<T>, address: ListenAddress) => Promise<{ readonly port: number | null; close(): Promise<void> }>;
  /** @param onFailure to be told when what was loaded can do nothing any more */
  readonly load: (onFailure: (error: WhisperError) => void) => Promise<T>;
  /** What is ready, for the user. */
  readonly describe: (engine: T) => string;
  readonly unload: (engine: T) => Promise<void>;
}

/** Resolves after the signal has aborted and all is drained; rejects where it cannot start, or when the engine dies. */
export async function runService<T>(service: Service<T>, progress: ProgressDisplay, signal: AbortSignal): Promise<void> {
  const { host, port, socket } = service.options;
  const engine = createDeferred<T>();
  let loaded: T | undefined;
  const server = await service.listen(engine.promise, socket === undefined ? { host, port } : { socketPath: socket });
  const address = server.port === null ? `unix:${socket}` : `http://${shownHost(host)}:${server.port}`;
  progress.message(`Listening on ${address}; ${service.what}.`);
  // A service whose engine died looks alive and refuses everything: it ends, and who supervises it starts it again.
  const failure: Deferred<WhisperError> = createDeferred();
  const loading = service.load(failure.resolve).then((parts) => {
    loaded = parts;
    engine.resolve(parts);
    if (!signal.aborted) progress.message(`Ready: ${service.describe(parts)} on ${address}`);
  });
  try {
    // a signal is heeded at once: loading, if it is not done by then, ends with the process
    await Promise.race([loading, aborted(signal)]);
    const failed = await Promise.race([aborted(signal), failure.promise]);
    if (failed !== undefined) throw failed;
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await server.close();
    if (loaded !== undefined) await service.unload(loaded);
  }
}

const shownHost = (host: string): string => (host === '0.0.0.0' || host === '::' ? 'localhost' : host);

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });
}

// The server: composes the routes around an engine, starts and shuts down.

import cors from '@fastify/cors';
import multipart from '@fastify/multipart';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import { WhisperError } from '../core/errors.ts';
import { Pacer } from '../streaming/pacer.ts';
import { Admission } from './admission.ts';
import { createAdmissionMetrics } from './admission-metrics.ts';
import { createKeyCheck } from './api-keys.ts';
import { type AppOptions, addStatusRoutes, createApp, endConnections, GRACE_MS, type ListenAddress, listen, settlesWithin } from './app.ts';
import { addFileRoute } from './file-route.ts';
import { addErrorHandlers } from './http-errors.ts';
import { resolveLimits, type ServerLimits } from './limits.ts';
import { createMetrics } from './metrics.ts';
import { addPageRoutes } from './page-route.ts';
import { createReadiness, type EngineParts } from './readiness.ts';
import { addStreamRoute } from './stream-route.ts';

export interface ServerOptions {
  /** Or a promise of it: the server answers /health at once, and /ready when the promise is fulfilled. Not closed by the server. */
  readonly engine: EngineParts | Promise<EngineParts>;
  /** Gets the server's metrics and the process's; /metrics shows all that is in it. */
  readonly registry: Registry;
  /** @default port 8000 of 127.0.0.1 */
  readonly address?: ListenAddress;
  /** The HTML file of `GET /`; the files beside it are served too. null: no page. @default null */
  readonly pagePath?: string | null;
  /** Over the defaults of limits.ts. */
  readonly limits?: Partial<ServerLimits>;
  /** Refuse new streams and files when the engine's measured load says that they would come late. @default true */
  readonly admission?: boolean;
  /** Bearer keys, one of which /stream and /transcribe then ask for. @default [] */
  readonly apiKeys?: readonly string[];
  /** Origins of pages that may use the service; '*' is any, `null` (a page from file://) included. @default '*' */
  readonly allowedOrigins?: '*' | readonly string[];
  /** Where JSON log lines go; no URL, address, text or audio is in them. null: nowhere. @default null */
  readonly log?: AppOptions['log'];
}

export interface RunningServer {
  /** Null on a Unix socket. */
  readonly port: number | null;
  readonly log: FastifyBaseLogger;
  /**
   * Takes nothing new, lets requests finish, gives every stream its finals and `going_away`; idempotent.
   * @param options.drainMs open streams may go on for so long before they are sent away @default 0
   * @param options.deadlineMs what still runs so long after that is cut off @default 30000
   */
  close(options?: { readonly drainMs?: number; readonly deadlineMs?: number }): Promise<void>;
}

export async function createServer(options: ServerOptions): Promise<RunningServer> {
  const { address = { host: '127.0.0.1', port: 8000 }, pagePath = null, apiKeys = [], allowedOrigins = '*' } = options;
  const limits = resolveLimits(options.limits);
  const metrics = createMetrics(options.registry);
  const readiness = createReadiness(options.engine);
  const now = (): number => performance.now();
  const { load } = readiness;
  const admission = options.admission === false ? null : new Admission(now);
  const pacer = new Pacer(load, now);
  createAdmissionMetrics(options.registry, { load, admission, pacer });
  const checkKey = createKeyCheck(apiKeys);
  const { fastify: app, idle } = createApp({
    log: options.log ?? null,
    metrics,
    headersTimeoutMs: limits.headersTimeoutMs,
    requestTimeoutMs: limits.fileTimeoutMs,
  });

  await app.register(cors, {
    origin: allowedOrigins === '*' ? '*' : [...allowedOrigins],
    methods: ['GET', 'HEAD', 'POST'],
    exposedHeaders: ['Retry-After'],
    strictPreflight: false,
  });
  await app.register(multipart);
  acceptAnyBody(app);
  addErrorHandlers(app, metrics);
  addStatusRoutes(app, options.registry, () => ({ model: readiness.require().transcriber.info.name }));
  app.get('/stream', async () => {
    throw new WhisperError('invalid_message', 'expected a WebSocket handshake');
  });
  if (pagePath !== null) addPageRoutes(app, pagePath);
  const files = addFileRoute(app, { readiness, limits, metrics, checkKey, yieldsToStreams: admission !== null });
  const isAllowedOrigin = (origin: string | undefined): boolean =>
    origin === undefined || allowedOrigins === '*' || allowedOrigins.includes(origin);
  const streams = addStreamRoute(app.server, {
    readiness,
    admission,
    pacer,
    limits,
    metrics,
    log: app.log,
    checkKey,
    isAllowedOrigin,
    now,
  });
  const port = await listen(app, address);

  let closing: Promise<void> | null = null;
  async function shutDown(drainMs: number, deadlineMs: number): Promise<void> {
    readiness.drain();
    // Stops listening at once, and resolves when the last connection is gone.
    const stopped = app.close();
    await settlesWithin(Promise.all([streams.ended(), idle()]), drainMs);
    const finished = Promise.all([streams.drain(), idle()]);
    if (!(await settlesWithin(finished, deadlineMs))) {
      app.log.warn('deadline passed: cutting off what still runs');
      streams.cutShort();
      files.cutShort();
      await settlesWithin(finished, GRACE_MS);
    }
    await endConnections(app, stopped);
  }

  return {
    port,
    log: app.log,
    close({ drainMs = 0, deadlineMs = 30_000 } = {}) {
      closing ??= shutDown(drainMs, deadlineMs);
      return closing;
    },
  };
}

/** The handlers read the body from the socket themselves; a form is the multipart plugin's. */
function acceptAnyBody(app: FastifyInstance): void {
  app.removeContentTypeParser(['application/json', 'text/plain']);
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
}

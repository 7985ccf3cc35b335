// The server: composes the routes around an engine, counts and logs requests, starts and shuts down.

import type { AddressInfo } from 'node:net';
import cors from '@fastify/cors';
import multipart from '@fastify/multipart';
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify';
import type { Registry } from 'prom-client';
import { WhisperError } from '../core/errors.ts';
import { Pacer } from '../streaming/pacer.ts';
import { Admission } from './admission.ts';
import { createAdmissionMetrics } from './admission-metrics.ts';
import { createKeyCheck } from './api-keys.ts';
import { addFileRoute } from './file-route.ts';
import { addErrorHandlers, drainBody, handleClientError, sendError } from './http-errors.ts';
import { resolveLimits, type ServerLimits } from './limits.ts';
import { createMetrics, type ServerMetrics } from './metrics.ts';
import { addPageRoutes } from './page-route.ts';
import { createReadiness, type EngineParts, type Readiness } from './readiness.ts';
import { addStreamRoute } from './stream-route.ts';

export interface ServerOptions {
  /** Or a promise of it: the server answers /health at once, and /ready when the promise is fulfilled. Not closed by the server. */
  readonly engine: EngineParts | Promise<EngineParts>;
  /** Gets the server's metrics and the process's; /metrics shows all that is in it. */
  readonly registry: Registry;
  /** @default '127.0.0.1' */
  readonly host?: string;
  /** 0 takes a free one. @default 8000 */
  readonly port?: number;
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
  readonly log?: { readonly level: string; readonly stream?: { write(line: string): void } } | null;
}

export interface RunningServer {
  readonly host: string;
  readonly port: number;
  readonly log: FastifyBaseLogger;
  /**
   * Takes nothing new, lets requests finish, gives every stream its finals and `going_away`; idempotent.
   * @param options.deadlineMs what still runs then is cut off @default 30000
   */
  close(options?: { readonly deadlineMs?: number }): Promise<void>;
}

/** Asked every few seconds by whoever watches the service: no news for the log. */
const POLLED_ROUTES: readonly string[] = ['/health', '/ready', '/metrics'];

/** Answers that are on their way out get this long after the deadline. */
const GRACE_MS = 500;

export async function createServer(options: ServerOptions): Promise<RunningServer> {
  const { host = '127.0.0.1', port = 8000, pagePath = null, apiKeys = [], allowedOrigins = '*' } = options;
  const limits = resolveLimits(options.limits);
  const metrics = createMetrics(options.registry);
  const readiness = createReadiness(options.engine);
  const now = (): number => performance.now();
  const { load } = readiness;
  const admission = options.admission === false ? null : new Admission(now);
  const pacer = new Pacer(load, now);
  createAdmissionMetrics(options.registry, { load, admission, pacer });
  const checkKey = createKeyCheck(apiKeys);
  const app = createApp(options, limits, metrics);
  const requests = countRequests(app, metrics);

  await app.register(cors, {
    origin: allowedOrigins === '*' ? '*' : [...allowedOrigins],
    methods: ['GET', 'HEAD', 'POST'],
    exposedHeaders: ['Retry-After'],
    strictPreflight: false,
  });
  await app.register(multipart);
  acceptAnyBody(app);
  addErrorHandlers(app, metrics);
  addStatusRoutes(app, readiness, options.registry);
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
  await app.listen({ host, port });

  let closing: Promise<void> | null = null;
  async function shutDown(deadlineMs: number): Promise<void> {
    readiness.drain();
    // Stops listening at once, and resolves when the last connection is gone.
    const stopped = app.close();
    const finished = Promise.all([streams.drain(), requests.idle()]);
    if (!(await settlesWithin(finished, deadlineMs))) {
      app.log.warn('deadline passed: cutting off what still runs');
      streams.cutShort();
      files.cutShort();
      await settlesWithin(finished, GRACE_MS);
    }
    // Connections kept alive between requests would hold the server open.
    app.server.closeIdleConnections();
    if (!(await settlesWithin(stopped, GRACE_MS))) app.server.closeAllConnections();
    await stopped;
  }

  return {
    host,
    port: (app.server.address() as AddressInfo).port,
    log: app.log,
    close({ deadlineMs = 30_000 } = {}) {
      closing ??= shutDown(deadlineMs);
      return closing;
    },
  };
}

function createApp(options: ServerOptions, limits: ServerLimits, metrics: ServerMetrics): FastifyInstance {
  const log = options.log ?? null;
  return fastify({
    logger:
      log === null ? false : { level: log.level, base: null, ...(log.stream && { stream: log.stream }), serializers: { req: () => ({}) } },
    // Fastify's own lines show URLs and addresses; countRequests writes one without.
    logController: new LogController({ disableRequestLogging: true }),
    return503OnClosing: false,
    requestTimeout: limits.fileTimeoutMs,
    clientErrorHandler: handleClientError,
    frameworkErrors: (error, request, reply) => sendError(error, request, reply, metrics),
    http: {
      headersTimeout: limits.headersTimeoutMs,
      connectionsCheckingInterval: Math.max(10, Math.min(5000, limits.headersTimeoutMs / 2)),
      // Node would answer with an empty body; the onRequest hook does better.
      requireHostHeader: false,
    },
  });
}

/** The handlers read the body from the socket themselves; a form is the multipart plugin's. */
function acceptAnyBody(app: FastifyInstance): void {
  app.removeContentTypeParser(['application/json', 'text/plain']);
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
}

/** Metrics and one log line per request, and the number that run. */
function countRequests(app: FastifyInstance, metrics: ServerMetrics): { idle(): Promise<void> } {
  let running = 0;
  let onIdle: (() => void) | null = null;
  app.addHook('onRequest', async (request, reply) => {
    running++;
    reply.raw.once('finish', () => drainBody(request));
    reply.raw.once('close', () => {
      const route = request.routeOptions.url ?? 'unknown';
      const status = reply.raw.writableFinished ? reply.statusCode : 499;
      metrics.requestDone(route, status, reply.elapsedTime / 1000);
      const level = POLLED_ROUTES.includes(route) ? 'debug' : 'info';
      request.log[level]({ method: request.method, route, status, ms: Math.round(reply.elapsedTime) }, 'request');
      running--;
      if (running === 0) onIdle?.();
    });
    if (request.raw.httpVersion === '1.1' && request.headers.host === undefined) {
      throw new WhisperError('invalid_message', 'expected a Host header');
    }
  });
  return {
    idle: () =>
      new Promise((resolve) => {
        onIdle = resolve;
        if (running === 0) resolve();
      }),
  };
}

function addStatusRoutes(app: FastifyInstance, readiness: Readiness, registry: Registry): void {
  app.get('/health', async () => ({ status: 'ok' }));
  app.get('/ready', async () => ({ status: 'ready', model: readiness.require().transcriber.info.name }));
  app.get('/metrics', async (_request, reply) => {
    reply.type(registry.contentType);
    return registry.metrics();
  });
  app.get('/stream', async () => {
    throw new WhisperError('invalid_message', 'expected a WebSocket handshake');
  });
}

/** Whether the promise settles in time. */
async function settlesWithin(promise: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

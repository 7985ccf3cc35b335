// The HTTP server that every service of ours is: log lines without secrets, metrics, status routes, an address, an end in order.

import type { AddressInfo } from 'node:net';
import { type FastifyInstance, fastify, LogController } from 'fastify';
import type { Registry } from 'prom-client';
import { WhisperError } from '../core/errors.ts';
import { ASR_PATH, WINDOWS_PATH } from '../engine/asr-protocol.ts';
import { drainBody, handleClientError, sendError } from './http-errors.ts';
import type { HttpMetrics } from './http-metrics.ts';

export interface AppOptions {
  /** See ServerOptions. */
  readonly log: { readonly level: string; readonly stream?: { write(line: string): void } } | null;
  readonly metrics: HttpMetrics;
  /** A request's head must have arrived by then. */
  readonly headersTimeoutMs: number;
  /** A request must have arrived by then. */
  readonly requestTimeoutMs: number;
}

export interface App {
  readonly fastify: FastifyInstance;
  /** Resolves when no request runs. */
  idle(): Promise<void>;
}

/** Where a server listens: a TCP port (0 takes a free one), or a Unix socket, a file that must not exist. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly socketPath: string };

/** Asked every few seconds by whoever watches the service, or for every window: no news for the log. */
const FREQUENT_ROUTES: readonly string[] = ['/health', '/ready', '/metrics', ASR_PATH, WINDOWS_PATH];

/** Answers that are on their way out get this long after the deadline. */
export const GRACE_MS = 500;

/** With hooks that count and log; routes and error handlers are the caller's. */
export function createApp(options: AppOptions): App {
  const { headersTimeoutMs, log, metrics, requestTimeoutMs } = options;
  const app = fastify({
    logger:
      log === null ? false : { level: log.level, base: null, ...(log.stream && { stream: log.stream }), serializers: { req: () => ({}) } },
    // Fastify's own lines show URLs and addresses; countRequests writes one without.
    logController: new LogController({ disableRequestLogging: true }),
    return503OnClosing: false,
    requestTimeout: requestTimeoutMs,
    clientErrorHandler: handleClientError,
    frameworkErrors: (error, request, reply) => sendError(error, request, reply, metrics),
    http: {
      headersTimeout: headersTimeoutMs,
      connectionsCheckingInterval: Math.max(10, Math.min(5000, headersTimeoutMs / 2)),
      // Node would answer with an empty body; the onRequest hook does better.
      requireHostHeader: false,
    },
  });
  return { fastify: app, ...countRequests(app, metrics) };
}

/** @param ready throws why it is not */
export function addStatusRoutes(app: FastifyInstance, registry: Registry, ready: () => object): void {
  app.get('/health', async () => ({ status: 'ok' }));
  app.get('/ready', async () => ({ status: 'ready', ...ready() }));
  app.get('/metrics', async (_request, reply) => {
    reply.type(registry.contentType);
    return registry.metrics();
  });
}

/** @returns the port, null on a Unix socket */
export async function listen(app: FastifyInstance, address: ListenAddress): Promise<number | null> {
  if ('socketPath' in address) {
    await app.listen({ path: address.socketPath });
    return null;
  }
  await app.listen(address);
  return (app.server.address() as AddressInfo).port;
}

/** Ends a server that has stopped listening. Connections kept alive between requests would hold it open. */
export async function endConnections(app: FastifyInstance, stopped: Promise<unknown>): Promise<void> {
  app.server.closeIdleConnections();
  if (!(await settlesWithin(stopped, GRACE_MS))) app.server.closeAllConnections();
  await stopped;
}

/** Metrics and one log line per request, and the number that run. */
function countRequests(app: FastifyInstance, metrics: HttpMetrics): { idle(): Promise<void> } {
  let running = 0;
  const onIdle: (() => void)[] = [];
  app.addHook('onRequest', async (request, reply) => {
    running++;
    reply.raw.once('finish', () => drainBody(request));
    reply.raw.once('close', () => {
      const route = request.routeOptions.url ?? 'unknown';
      const status = reply.raw.writableFinished ? reply.statusCode : 499;
      metrics.requestDone(route, status, reply.elapsedTime / 1000);
      const level = FREQUENT_ROUTES.includes(route) ? 'debug' : 'info';
      request.log[level]({ method: request.method, route, status, ms: Math.round(reply.elapsedTime) }, 'request');
      running--;
      if (running === 0) for (const resolve of onIdle.splice(0)) resolve();
    });
    if (request.raw.httpVersion === '1.1' && request.headers.host === undefined) {
      throw new WhisperError('invalid_message', 'expected a Host header');
    }
  });
  return {
    idle: () =>
      new Promise((resolve) => {
        if (running === 0) resolve();
        else onIdle.push(resolve);
      }),
  };
}

/** Whether the promise settles in time. */
export async function settlesWithin(promise: Promise<unknown>, timeoutMs: number): Promise<boolean> {
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

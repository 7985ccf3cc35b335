// The engine as a service of its own: windows in, words out, over HTTP on a port or a Unix socket. `engine/remote-transcriber` is its client.
//
// For a trusted network, or a socket that only its owner may open: it asks for no key, and whoever reaches it hears no one's audio.

import { randomUUID } from 'node:crypto';
import type { FastifyBaseLogger, FastifyReply } from 'fastify';
import type { Registry } from 'prom-client';
import { WhisperError } from '../core/errors.ts';
import {
  ASR_PATH,
  type AsrAnswer,
  type AsrReport,
  decodeWindow,
  MAX_WINDOW_BYTES,
  WINDOW_CONTENT_TYPE,
  WINDOWS_PATH,
} from '../engine/asr-protocol.ts';
import type { Transcriber } from '../engine/transcriber.ts';
import { type AppOptions, addStatusRoutes, createApp, endConnections, GRACE_MS, type ListenAddress, listen, settlesWithin } from './app.ts';
import { addErrorHandlers } from './http-errors.ts';
import { createHttpMetrics } from './http-metrics.ts';
import { createReadiness, type EngineParts } from './readiness.ts';

export interface AsrServerOptions {
  /** The server answers /health at once, and the rest when the promise is fulfilled. Not closed by the server. */
  readonly transcriber: Transcriber | Promise<Transcriber>;
  /** Gets the metrics of requests and of the process; /metrics shows all that is in it. */
  readonly registry: Registry;
  readonly address: ListenAddress;
  /** Where JSON log lines go; no address, text or audio is in them. null: nowhere. @default null */
  readonly log?: AppOptions['log'];
}

export interface RunningAsrServer {
  /** Null on a Unix socket. */
  readonly port: number | null;
  readonly log: FastifyBaseLogger;
  /**
   * Takes nothing new and lets windows finish; idempotent.
   * @param options.deadlineMs what still runs then is cut off @default 30000
   */
  close(options?: { readonly deadlineMs?: number }): Promise<void>;
}

const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** Who was silent for so long has gone; they ask for the load every 2 s, of some replica. */
const FORGET_CALLER_MS = 15_000;

export async function createAsrServer({ address, log = null, registry, transcriber }: AsrServerOptions): Promise<RunningAsrServer> {
  const replica = randomUUID();
  const metrics = createHttpMetrics(registry);
  const asParts = (engine: Transcriber): EngineParts => ({ transcriber: engine, speechDetector: null });
  const readiness = createReadiness(transcriber instanceof Promise ? transcriber.then(asParts) : asParts(transcriber));
  const engine = (): Transcriber => readiness.require().transcriber;
  const { fastify: app, idle } = createApp({
    log,
    metrics,
    headersTimeoutMs: HEADERS_TIMEOUT_MS,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
  });
  const running = new Set<AbortController>();
  /** When each was last heard. */
  const callers = new Map<string, number>();

  function hear(caller: string): void {
    const nowMs = performance.now();
    callers.set(caller, nowMs);
    for (const [id, heardMs] of callers) if (heardMs < nowMs - FORGET_CALLER_MS) callers.delete(id);
  }

  app.removeAllContentTypeParsers();
  app.addContentTypeParser(WINDOW_CONTENT_TYPE, { parseAs: 'buffer', bodyLimit: MAX_WINDOW_BYTES }, (_request, body, done) =>
    done(null, body),
  );
  addErrorHandlers(app, metrics);
  addStatusRoutes(app, registry, () => ({ model: engine().info.name }));

  app.get<{ Querystring: { caller?: unknown } }>(ASR_PATH, async ({ query: { caller } }): Promise<AsrReport> => {
    const { info } = engine();
    if (typeof caller === 'string') hear(caller);
    return { replica, info, load: engine().load(), callers: callers.size };
  });

  app.post(WINDOWS_PATH, async (http, reply): Promise<AsrAnswer> => {
    const startedMs = performance.now();
    const work = engine();
    const { caller, model, request, timeoutMs } = decodeWindow(http.body as Uint8Array);
    // Its tokens would be other words. Not for ever: a deployment is changing, and there are replicas of both models meanwhile.
    if (model !== work.info.name) throw new WhisperError('not_ready', `a window for the model ${model}; this is ${work.info.name}`);
    hear(caller);
    const controller = new AbortController();
    running.add(controller);
    const timer = setTimeout(() => controller.abort(), timeoutMs);
    abortWhenGone(reply, controller);
    try {
      const result = await work.transcribe(request, controller.signal);
      return { replica, load: work.load(), callers: callers.size, result, seconds: (performance.now() - startedMs) / 1000 };
    } finally {
      clearTimeout(timer);
      running.delete(controller);
    }
  });

  const port = await listen(app, address);
  let closing: Promise<void> | null = null;
  async function shutDown(deadlineMs: number): Promise<void> {
    readiness.drain();
    // Stops listening at once, and resolves when the last connection is gone.
    const stopped = app.close();
    if (!(await settlesWithin(idle(), deadlineMs))) {
      app.log.warn('deadline passed: cutting off what still runs');
      for (const controller of running) controller.abort();
      await settlesWithin(idle(), GRACE_MS);
    }
    await endConnections(app, stopped);
  }

  return {
    port,
    log: app.log,
    close({ deadlineMs = 30_000 } = {}) {
      closing ??= shutDown(deadlineMs);
      return closing;
    },
  };
}

/** Who closes the connection does not want the answer. */
function abortWhenGone(reply: FastifyReply, controller: AbortController): void {
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort(new WhisperError('cancelled', 'The request was cancelled.'));
  });
}

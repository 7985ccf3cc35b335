// The WebSocket route /stream: handshakes accepted or refused, the set of open streams, their heartbeat and their farewell.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyBaseLogger } from 'fastify';
import { type Server as SocketServer, type WebSocket, WebSocketServer } from 'ws';
import { ReaderSlots } from '../audio/reader-slots.ts';
import { toWhisperError, WhisperError } from '../core/errors.ts';
import { createLiveSession, type LiveOptions } from '../streaming/live.ts';
import type { Pacer } from '../streaming/pacer.ts';
import type { Admission } from './admission.ts';
import type { KeyCheck } from './api-keys.ts';
import { replyOnSocket } from './error-body.ts';
import type { ServerLimits } from './limits.ts';
import type { ServerMetrics } from './metrics.ts';
import type { EngineParts, Readiness } from './readiness.ts';
import { StreamConnection } from './stream-connection.ts';
import { StreamSocket } from './stream-socket.ts';

export interface StreamRouteOptions {
  readonly readiness: Readiness;
  /** null: streams are not refused for load. */
  readonly admission: Admission | null;
  /** Of the partials of all streams. */
  readonly pacer: Pacer;
  readonly limits: ServerLimits;
  readonly metrics: ServerMetrics;
  readonly log: FastifyBaseLogger;
  readonly checkKey: KeyCheck;
  /** Whether a page of this origin may connect; programs send none. */
  readonly isAllowedOrigin: (origin: string | undefined) => boolean;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
}

export interface StreamRoute {
  /** Resolves when no stream is open; new ones are the caller's to keep away. */
  ended(): Promise<void>;
  /** Every stream gets its finals, `going_away` and its close frame; resolves when all sockets are closed. */
  drain(): Promise<void>;
  /** What has not closed by now is cut off. */
  cutShort(): void;
}

const STREAM_PATH = '/stream';
/** A client that does not answer the close frame is dropped after this. */
const CLOSE_TIMEOUT_MS = 10_000;
/** Fragments of one message, and reads of the socket that one frame may take: more is an attack on memory. */
const MAX_FRAGMENTS = 4096;
const MAX_BUFFERED_CHUNKS = 65_536;

/** Engines that were not heard of for so long are away: five questions for their load without an answer. */
const AWAY_SECONDS = 10;

/** Listens for upgrades on the server. The paths that do not upgrade are fastify's. */
export function addStreamRoute(server: Server, options: StreamRouteOptions): StreamRoute {
  const { readiness, admission, pacer, limits, metrics, log, now } = options;
  const readerSlots = new ReaderSlots(limits.maxContainerStreams);
  const connections = new Set<StreamConnection>();
  let onEmpty: (() => void) | null = null;

  const socketOptions: WebSocket.ServerOptions<typeof StreamSocket> & { closeTimeout: number } = {
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: limits.maxMessageBytes,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MAX_BUFFERED_CHUNKS,
    closeTimeout: CLOSE_TIMEOUT_MS,
    WebSocket: StreamSocket,
  };
  const webSockets: SocketServer<typeof StreamSocket> = new WebSocketServer(socketOptions);
  webSockets.on('wsClientError', (error, socket) => {
    replyOnSocket(socket, new WhisperError('invalid_message', `expected a WebSocket handshake: ${error.message}`), {
      'sec-websocket-version': '13',
    });
  });

  /** A browser does not see the status of a refused handshake, so what it must know comes as an event. */
  function accept(request: IncomingMessage, socket: StreamSocket, engine: EngineParts, refusal: WhisperError | null): void {
    const sessionId = randomUUID();
    const createSession = (live: LiveOptions) => createLiveSession({ ...engine, now, pacer, owner: sessionId }, live);
    let leave: (() => void) | undefined;
    const connection = new StreamConnection({
      socket,
      sessionId,
      model: engine.transcriber.info,
      createSession,
      readerSlots,
      limits,
      metrics,
      log,
      now,
      onClosed: () => {
        connections.delete(connection);
        leave?.();
        if (connections.size === 0) onEmpty?.();
      },
    });
    connections.add(connection);
    log.info({ session: sessionId }, 'stream opened');
    try {
      options.checkKey(request, { alsoInQuery: true });
      if (refusal !== null) throw refusal;
      leave = admission?.enter();
    } catch (error) {
      const thrown = toWhisperError(error);
      if (thrown === refusal) metrics.refused('stream', refusal.code);
      connection.refuse(thrown);
    }
  }

  /** The refusal of a stream that nobody would hear, or that would make all of them late, or null. */
  function refusalForLoad(engine: EngineParts): WhisperError | null {
    const load = engine.transcriber.load();
    if (load.silentSeconds > AWAY_SECONDS) {
      return new WhisperError('unavailable', 'The speech recogniser cannot be reached; try again later.', { retryAfterSeconds: 5 });
    }
    const assessment = admission?.assess(load);
    if (assessment === undefined || assessment.isAdmitting) return null;
    const { retryAfterSeconds } = assessment;
    return new WhisperError('overloaded', 'One more stream could not be followed in time; try again later.', { retryAfterSeconds });
  }

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    try {
      const path = (request.url ?? '').split('?', 1)[0];
      if (path !== STREAM_PATH) throw new WhisperError('not_found', `No WebSocket at this path; expected ${STREAM_PATH}.`);
      if (!options.isAllowedOrigin(request.headers.origin)) throw new WhisperError('unauthorized', 'Pages of this origin may not connect.');
      const engine = readiness.require();
      if (connections.size >= limits.maxSessions) {
        throw new WhisperError('overloaded', `All ${limits.maxSessions} sessions are taken; try again later.`, { retryAfterSeconds: 5 });
      }
      const refusal = refusalForLoad(engine);
      const isBrowser = request.headers.origin !== undefined;
      if (refusal !== null && !isBrowser) throw refusal;
      webSockets.handleUpgrade(request, socket, head, (webSocket) => accept(request, webSocket, engine, refusal));
    } catch (error) {
      const refusal = toWhisperError(error);
      metrics.refused('stream', refusal.code);
      replyOnSocket(socket, refusal);
    }
  }
  server.on('upgrade', upgrade);

  const tickMs = Math.max(10, Math.min(1000, limits.heartbeatMs / 4, limits.idleMs / 4));
  const ticking = setInterval(() => {
    for (const connection of connections) connection.tick();
  }, tickMs);
  ticking.unref();

  const ended = (): Promise<void> =>
    new Promise((resolve) => {
      onEmpty = resolve;
      if (connections.size === 0) resolve();
    });

  return {
    ended,
    async drain() {
      const empty = ended();
      for (const connection of connections) void connection.goAway();
      await empty;
      clearInterval(ticking);
    },
    cutShort() {
      clearInterval(ticking);
      for (const connection of connections) connection.cutShort();
    },
  };
}

// A server on a free port with scripted speech behind it, and a WebSocket client that collects what comes: for tests of src/server.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after } from 'node:test';
import { Registry } from 'prom-client';
import { WebSocket } from 'ws';
import type { TranscribeRequest, Transcriber } from '../src/engine/transcriber.ts';
import type { ServerMessage } from '../src/protocol/stream-messages.ts';
import { createServer, type RunningServer, type ServerOptions } from '../src/server/server.ts';
import type { Sleep } from '../src/streaming/retry.ts';
import { createScriptedTranscriber, layOut, type SpokenWord, synthesize } from './scripted-speech.ts';

export interface TestServer {
  readonly server: RunningServer;
  readonly url: string;
  readonly streamUrl: string;
  readonly port: number;
  readonly registry: Registry;
  readonly transcriber: Transcriber & { readonly requests: TranscribeRequest[] };
  /** JSON lines of the log. */
  readonly logLines: string[];
  /** The value of a metric, summed over the label sets that contain `labels`. */
  metric(name: string, labels?: Record<string, string>): Promise<number>;
  close(): Promise<void>;
}

export interface TestServerOptions extends Partial<ServerOptions> {
  readonly words?: readonly SpokenWord[];
  /** How the transcriber deviates from the script, and what it awaits before each answer. */
  readonly flaws?: Parameters<typeof createScriptedTranscriber>[1];
  /** See EngineParts. */
  readonly sleep?: Sleep;
}

export async function startTestServer({ words = SPOKEN, flaws = {}, sleep, ...options }: TestServerOptions = {}): Promise<TestServer> {
  const registry = new Registry();
  const transcriber = createScriptedTranscriber(words, flaws);
  const logLines: string[] = [];
  const log = { level: 'info', stream: { write: (line: string) => void logLines.push(line) } };
  const engine = { transcriber, speechDetector: null, ...(sleep && { sleep }) };
  const server = await createServer({ engine, registry, address: { host: '127.0.0.1', port: 0 }, log, ...options });
  const port = server.port as number;
  return {
    server,
    url: `http://127.0.0.1:${port}`,
    streamUrl: `ws://127.0.0.1:${port}/stream`,
    port,
    registry,
    transcriber,
    logLines,
    async metric(name, labels = {}) {
      const metric = (await registry.getMetricsAsJSON()).find((candidate) => candidate.name === name);
      const values = (metric?.values ?? []) as { value: number; labels: Record<string, string | number> }[];
      const fits = (value: { labels: Record<string, string | number> }) =>
        Object.entries(labels).every(([label, wanted]) => String(value.labels[label]) === wanted);
      return values.filter(fits).reduce((sum, { value }) => sum + value, 0);
    },
    close: () => server.close({ deadlineMs: 2000 }),
  };
}

/** A minute of words, 0.4 s each, with pauses of 0.2 s. */
export const SPOKEN: readonly SpokenWord[] = layOut(Array.from({ length: 100 }, () => ({ pause: 3200, length: 6400 })));

/** Seconds [from, to) of SPOKEN as pcm_f32le, whose values are exact. */
export function spokenBytes(fromSeconds: number, toSeconds: number, words = SPOKEN): Buffer {
  const pcm = synthesize(words, Math.round(fromSeconds * 16_000), Math.round(toSeconds * 16_000));
  return Buffer.from(pcm.buffer, pcm.byteOffset, pcm.byteLength);
}

/** pcm_f32le at 16 kHz behind a WAV header. */
export function wavOf(bytes: Buffer): Uint8Array<ArrayBuffer> {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + bytes.length, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(3, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(16_000, 24);
  header.writeUInt32LE(64_000, 28);
  header.writeUInt16LE(4, 32);
  header.writeUInt16LE(32, 34);
  header.write('data', 36);
  header.writeUInt32LE(bytes.length, 40);
  return new Uint8Array(Buffer.concat([header, bytes]));
}

export const FLOAT_CONFIG = JSON.stringify({ encoding: 'pcm_f32le', language: 'en' });

export interface StreamClient {
  readonly socket: WebSocket;
  /** All that came so far. */
  readonly messages: ServerMessage[];
  send(data: string | Uint8Array | object): void;
  /** The first message that fits, past or to come; rejects when the stream closes without one. */
  waitFor<T extends ServerMessage['type']>(type: T): Promise<Extract<ServerMessage, { type: T }>>;
  /** When the close frame came, or the connection broke (1006). */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
}

export async function openStream(url: string, options: WebSocket.ClientOptions = {}): Promise<StreamClient> {
  const socket = new WebSocket(url, { perMessageDeflate: false, ...options });
  const messages: ServerMessage[] = [];
  const waiting = new Set<() => void>();
  let isClosed = false;
  const wake = () => {
    for (const check of waiting) check();
  };
  socket.on('message', (data) => {
    messages.push(JSON.parse(String(data)) as ServerMessage);
    wake();
  });
  socket.on('error', () => undefined);
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => {
      isClosed = true;
      resolve({ code, reason: String(reason) });
      wake();
    });
  });
  await Promise.race([once(socket, 'open'), closed.then(({ code }) => Promise.reject(new Error(`closed with ${code} before it opened`)))]);
  return {
    socket,
    messages,
    closed,
    send: (data) => socket.send(typeof data === 'string' || data instanceof Uint8Array ? data : JSON.stringify(data)),
    waitFor<T extends ServerMessage['type']>(type: T) {
      return new Promise<Extract<ServerMessage, { type: T }>>((resolve, reject) => {
        const check = () => {
          const found = messages.find((message) => message.type === type);
          if (found === undefined && !isClosed) return;
          waiting.delete(check);
          if (found === undefined) reject(new Error(`closed without "${type}"; got ${JSON.stringify(messages)}`));
          else resolve(found as Extract<ServerMessage, { type: T }>);
        };
        waiting.add(check);
        check();
      });
    },
  };
}

/** A bare TCP connection and all that it received, for clients that break the rules. */
export async function openSocket(port: number): Promise<{ socket: Socket; received: () => string; closed: Promise<void> }> {
  const socket = connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await once(socket, 'connect');
  return { socket, received: () => Buffer.concat(chunks).toString('latin1'), closed };
}

/** The handshake that a WebSocket client sends. */
export const handshake = (path = '/stream', headers: readonly string[] = []): string =>
  [
    `GET ${path} HTTP/1.1`,
    'Host: localhost',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...headers,
    '\r\n',
  ].join('\r\n');

/** A masked client frame (mask 0, so that the payload is readable). */
export function clientFrame(opcode: number, payload: Uint8Array, { fin = true }: { fin?: boolean } = {}): Buffer {
  const head = payload.length < 126 ? Buffer.alloc(6) : Buffer.alloc(payload.length < 65_536 ? 8 : 14);
  head[0] = (fin ? 0x80 : 0) | opcode;
  if (payload.length < 126) head[1] = 0x80 | payload.length;
  else if (payload.length < 65_536) {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(payload.length, 2);
  } else {
    head[1] = 0x80 | 127;
    head.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([head, payload]);
}

/** Resolves when the condition holds; checks every few milliseconds, and gives up after a time. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const giveUpMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > giveUpMs) throw new Error(`still not so after ${timeoutMs / 1000} s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Starts servers that live until the test file's tests have run. Call it once, outside of tests. */
export function serversOfFile(): (options?: TestServerOptions) => Promise<TestServer> {
  const cleanups: (() => Promise<void>)[] = [];
  after(async () => {
    for (const cleanup of cleanups) await cleanup();
  });
  return async (options = {}) => {
    const server = await startTestServer(options);
    cleanups.push(server.close);
    return server;
  };
}

/** For a scripted engine's `before`: holds every request until its signal aborts. */
export function holdUntilAborted(onAborted: () => void): (request: unknown, signal?: AbortSignal) => Promise<void> {
  return (_request, signal) =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => {
        onAborted();
        reject(signal.reason);
      });
    });
}

// Many sockets that say next to nothing: silence, five frames a second, and pings that want their pongs.

import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { type Quantiles, quantiles } from '../capacity/latency.ts';

const FRAME_MS = 200;
const FRAME = Buffer.alloc((16_000 * 2 * FRAME_MS) / 1000);
const PING_EVERY_FRAMES = 25;
const PONG_TIMEOUT_MS = 10_000;

export interface SocketReport {
  readonly sockets: number;
  readonly seconds: number;
  /** Closed before the end, for whatever reason. */
  readonly lost: number;
  readonly pings: number;
  readonly missedPongs: number;
  readonly pongMs: Quantiles;
  /** Pings of the other side, which ws answers. */
  readonly serverPings: number;
  /** Spans of silence that the service declared. */
  readonly noSpeech: number;
}

/** @param url ws://host:port/stream */
export async function holdSockets(url: string, count: number, seconds: number): Promise<SocketReport> {
  const held = await Promise.all(Array.from({ length: count }, (_, index) => Held.open(url, (index * FRAME_MS) / count)));
  await delay(seconds * 1000);
  for (const socket of held) socket.stop();
  await delay(1000);
  const reports = held.map((socket) => socket.end());
  const sum = (value: (report: HeldReport) => number): number => reports.reduce((total, report) => total + value(report), 0);
  const pongs = reports.flatMap(({ pongMs }) => pongMs);
  return {
    sockets: count,
    seconds,
    lost: reports.filter(({ isOpen }) => !isOpen).length,
    pings: sum(({ pings }) => pings),
    missedPongs: sum(({ pings }) => pings) - pongs.filter((ms) => ms <= PONG_TIMEOUT_MS).length,
    pongMs: quantiles(pongs, 1),
    serverPings: sum(({ serverPings }) => serverPings),
    noSpeech: sum(({ noSpeech }) => noSpeech),
  };
}

interface HeldReport {
  readonly isOpen: boolean;
  readonly pings: number;
  readonly pongMs: readonly number[];
  readonly serverPings: number;
  readonly noSpeech: number;
}

class Held {
  readonly #socket: WebSocket;
  readonly #pongMs: number[] = [];
  #pings = 0;
  #serverPings = 0;
  #noSpeech = 0;
  #frames = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('pong', (data) => this.#pongMs.push(performance.now() - Number(data)));
    socket.on('ping', () => this.#serverPings++);
    socket.on('message', (data) => {
      if (String(data).includes('"no_speech"')) this.#noSpeech++;
    });
  }

  static async open(url: string, afterMs: number): Promise<Held> {
    await delay(afterMs);
    const socket = new WebSocket(url, { perMessageDeflate: false });
    const held = new Held(socket);
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    socket.on('error', () => undefined);
    held.#timer = setInterval(() => held.#send(), FRAME_MS);
    return held;
  }

  #send(): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(FRAME);
    if (this.#frames++ % PING_EVERY_FRAMES !== 0) return;
    this.#pings++;
    this.#socket.ping(String(performance.now()));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  end(): HeldReport {
    const isOpen = this.#socket.readyState === WebSocket.OPEN;
    this.#socket.close();
    return { isOpen, pings: this.#pings, pongMs: this.#pongMs, serverPings: this.#serverPings, noSpeech: this.#noSpeech };
  }
}

// A client of /stream for tests and benchmarks: sends audio paced or as fast as the socket takes it, collects every message.

import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import type { FinalTranscript, ServerMessage, WireWord } from '../src/protocol/stream-messages.ts';

const HIGH_WATER_BYTES = 1 << 20;
const FRAME_SECONDS = 0.1;
const PCM_BYTES_PER_SECOND = 32_000;
/** Languages that write no spaces between words. */
const UNSPACED: readonly string[] = ['zh', 'ja', 'yue', 'th', 'lo', 'my', 'km', 'bo'];

export interface StreamAudioOptions {
  /** The first message. @default {} */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Seconds of audio for each second of time, for PCM of 16 kHz; Infinity: as fast as the socket takes it. @default Infinity */
  readonly pace?: number;
  /** @default 3200: 0.1 s of PCM */
  readonly frameBytes?: number;
  /** Called with each message when it comes. */
  readonly onMessage?: (message: ServerMessage) => void;
  readonly signal?: AbortSignal;
}

export interface StreamOutcome {
  readonly messages: readonly ServerMessage[];
  readonly finals: readonly FinalTranscript[];
  /** The finals' texts, joined as a client shows them: a space between where the language has spaces. */
  readonly text: string;
  readonly words: readonly WireWord[];
  readonly closeCode: number;
  readonly wallSeconds: number;
}

/** Streams the bytes, sends `end`, and resolves at the close frame. Rejects only when the connection cannot be opened. */
export async function streamAudio(
  url: string,
  audio: Uint8Array | AsyncIterable<Uint8Array>,
  options: StreamAudioOptions = {},
): Promise<StreamOutcome> {
  const startMs = performance.now();
  const socket = new WebSocket(url, { perMessageDeflate: false });
  const messages: ServerMessage[] = [];
  socket.on('message', (data) => {
    const message = JSON.parse(data.toString()) as ServerMessage;
    messages.push(message);
    options.onMessage?.(message);
  });
  const closed = new Promise<number>((resolve) => socket.on('close', resolve));
  const abort = (): void => socket.terminate();
  options.signal?.addEventListener('abort', abort, { once: true });
  await new Promise<void>((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  });
  const open = (): boolean => socket.readyState === WebSocket.OPEN;
  if (options.config !== undefined) socket.send(JSON.stringify(options.config));

  const frameBytes = options.frameBytes ?? PCM_BYTES_PER_SECOND * FRAME_SECONDS;
  const sendingMs = performance.now();
  let sentBytes = 0;
  for await (const block of audio instanceof Uint8Array ? [audio] : audio) {
    for (let offset = 0; offset < block.length && open(); offset += frameBytes) {
      const frame = block.subarray(offset, offset + frameBytes);
      if (options.pace !== undefined && Number.isFinite(options.pace)) {
        // A microphone hands a frame over when it is full
        const dueMs = sendingMs + ((sentBytes + frame.length) / PCM_BYTES_PER_SECOND / options.pace) * 1000;
        await delay(Math.max(0, dueMs - performance.now()));
      }
      while (socket.bufferedAmount > HIGH_WATER_BYTES && open()) await delay(5);
      if (open()) socket.send(frame);
      sentBytes += frame.length;
    }
  }
  if (open()) socket.send(JSON.stringify({ type: 'end' }));
  const closeCode = await closed;
  options.signal?.removeEventListener('abort', abort);
  const isUnspaced = (language: string): boolean => options.config?.task !== 'translate' && UNSPACED.includes(language);
  const finals = messages.filter((message) => message.type === 'transcript' && message.is_final) as FinalTranscript[];
  return {
    messages,
    finals,
    text: finals.reduce((text, final) => text + (text === '' || isUnspaced(final.language) ? '' : ' ') + final.text, ''),
    words: finals.flatMap((final) => final.words ?? []),
    closeCode,
    wallSeconds: (performance.now() - startMs) / 1000,
  };
}

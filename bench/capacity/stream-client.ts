// One stream of the load: its socket, the audio that it sends frame by frame, and a record of all that comes back.

import { WebSocket } from 'ws';
import { createDialect, type Dialect, type DialectEvent } from './dialect.ts';
import type { GeneratorJob, Refusal, StreamOrder, StreamReport } from './generator-messages.ts';
import { wordLatencySeconds } from './latency.ts';
import { frameDueMs, SAMPLE_RATE } from './plan.ts';

const FRAME_SECONDS = 0.1;
const FRAME_SAMPLES = FRAME_SECONDS * SAMPLE_RATE;
/** As fast as possible means: at most so many bytes under way. */
const HIGH_WATER_BYTES = 1 << 20;

export const epochMs = (): number => performance.timeOrigin + performance.now();

export interface ClientParts {
  readonly job: GeneratorJob;
  readonly order: StreamOrder;
  /** The PCM of every file of the plan. */
  readonly pcm: ReadonlyMap<string, Int16Array>;
  readonly firstSpeechSample: number;
  readonly onRefused: () => void;
  /** Late frames, in milliseconds. */
  readonly onSent: (lateMs: number) => void;
}

export class StreamClient {
  readonly #parts: ClientParts;
  readonly #dialect: Dialect;
  readonly #sentMs: Float64Array;
  readonly #scratch = new Int16Array(FRAME_SAMPLES);
  readonly #texts: string[] = [];
  readonly #latencies: number[] = [];
  readonly #receivedMs: number[] = [];
  readonly #done: Promise<void>;
  #finish: () => void = () => undefined;
  #socket: WebSocket | null = null;
  #state: StreamReport['state'] = 'absent';
  #refusal: Refusal | null = null;
  #failure: string | null = null;
  #isTaking = false;
  #hasSentAll = false;
  #sampleCount: number;
  #frame = 0;
  #part = 0;
  #audioStartMs = 0;
  #connectMs = 0;
  #heardMs = 0;
  #firstTextMs: number | null = null;
  #lastTextMs: number | null = null;
  #partials = 0;
  #deadline: NodeJS.Timeout | null = null;

  constructor(parts: ClientParts) {
    this.#parts = parts;
    this.#dialect = createDialect(parts.job.system, parts.job);
    this.#sampleCount = parts.order.plan.sampleCount;
    this.#sentMs = new Float64Array(Math.ceil(this.#sampleCount / FRAME_SAMPLES));
    this.#done = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Resolves when the stream is over, however it ended. */
  get done(): Promise<void> {
    return this.#done;
  }

  /** @param audioMs the earliest moment of its audio */
  connect(audioMs: number): void {
    const { url } = this.#parts.job;
    this.#connectMs = epochMs();
    this.#state = 'lost';
    this.#failure = 'no answer';
    const socket = new WebSocket(url + this.#dialect.path, { perMessageDeflate: false, maxPayload: 1 << 26 });
    this.#socket = socket;
    this.#deadline = setTimeout(() => this.#over('not ready in time'), this.#parts.job.drainSeconds * 1000);
    const begin = (): void => {
      this.#clearDeadline();
      this.#audioStartMs = Math.max(audioMs, epochMs());
      this.#isTaking = true;
    };
    socket.on('open', () => {
      if (this.#dialect.hello !== null) socket.send(this.#dialect.hello);
      if (this.#dialect.takesAudioAtOnce) begin();
    });
    socket.on('unexpected-response', (request, response) => {
      const retryAfter = response.headers['retry-after'];
      this.#refuse(String(response.statusCode), retryAfter === undefined ? null : Number(retryAfter));
      request.destroy();
    });
    socket.on('message', (data) => {
      const nowMs = epochMs();
      this.#heardMs = nowMs;
      for (const event of this.#dialect.read(String(data), nowMs)) {
        if (event.kind === 'ready') begin();
        else this.#take(event, nowMs);
      }
    });
    socket.on('error', (error) => this.#over(error.message));
    socket.on('close', (code) => (code === 1013 ? this.#refuse('1013', null) : this.#over(`closed ${code}`)));
  }

  /** The connection is there and the audio is not all sent. */
  get isSending(): boolean {
    return this.#isTaking && !this.#hasSentAll;
  }

  /** When the next frame is due; Infinity where there is none. */
  get dueMs(): number {
    if (!this.isSending) return Infinity;
    return frameDueMs(this.#audioStartMs, this.#frame, FRAME_SECONDS, this.#parts.job.pace);
  }

  get isCongested(): boolean {
    return (this.#socket?.bufferedAmount ?? 0) > HIGH_WATER_BYTES;
  }

  sendFrame(nowMs: number): void {
    this.#parts.onSent(nowMs - this.dueMs);
    const start = this.#frame * FRAME_SAMPLES;
    const count = Math.min(FRAME_SAMPLES, this.#sampleCount - start);
    this.#fill(start, count);
    // ws masks into a buffer of its own before send returns, so the scratch may be used again
    this.#socket?.send(Buffer.from(this.#scratch.buffer, 0, count * 2));
    this.#sentMs[this.#frame++] = nowMs;
    if (this.#frame * FRAME_SAMPLES >= this.#sampleCount) this.#end();
  }

  /** Sends no more than what is sent. */
  stopSending(): void {
    if (!this.isSending) return;
    this.#sampleCount = Math.min(this.#sampleCount, this.#frame * FRAME_SAMPLES);
    this.#end();
  }

  report(): StreamReport {
    const audioSeconds = Math.min(this.#frame * FRAME_SAMPLES, this.#sampleCount) / SAMPLE_RATE;
    const speechFrame = Math.floor(this.#parts.firstSpeechSample / FRAME_SAMPLES);
    const isDone = this.#state === 'done';
    return {
      index: this.#parts.order.plan.index,
      state: this.#state,
      refusal: this.#refusal,
      failure: this.#state === 'lost' ? this.#failure : null,
      audioSeconds,
      text: this.#texts.join(' '),
      wordLatencySeconds: this.#latencies,
      wordReceivedMs: this.#receivedMs,
      firstTextSeconds:
        this.#firstTextMs === null || speechFrame >= this.#frame ? null : (this.#firstTextMs - this.#sentMs[speechFrame]!) / 1000,
      partials: this.#partials,
      gaps: isDone ? this.#dialect.gaps(audioSeconds) : null,
      lastTextMs: this.#lastTextMs,
    };
  }

  /** Copies what the plan plays from `start` on into the scratch; what no clip covers is silence. */
  #fill(start: number, count: number): void {
    const { parts } = this.#parts.order.plan;
    this.#scratch.fill(0);
    while (this.#part < parts.length && parts[this.#part]!.startSample + parts[this.#part]!.sampleCount <= start) this.#part++;
    for (let at = this.#part; at < parts.length && parts[at]!.startSample < start + count; at++) {
      const { pcmFile, startSample, sampleCount } = parts[at]!;
      const from = Math.max(start, startSample);
      const to = Math.min(start + count, startSample + sampleCount);
      const pcm = this.#parts.pcm.get(pcmFile)!;
      for (let sample = from; sample < to; sample++) this.#scratch[sample - start] = pcm[sample - startSample]!;
    }
  }

  #end(): void {
    this.#hasSentAll = true;
    if (this.#dialect.end !== null) this.#socket?.send(this.#dialect.end);
    const { quietMs } = this.#dialect;
    const drainMs = this.#parts.job.drainSeconds * 1000;
    if (quietMs === null) {
      this.#deadline = setTimeout(() => this.#over('no end in time'), drainMs);
      return;
    }
    const startMs = epochMs();
    this.#deadline = setInterval(() => {
      const nowMs = epochMs();
      const isQuiet = nowMs - Math.max(startMs, this.#heardMs) > quietMs;
      if (isQuiet || nowMs - startMs > drainMs) this.#complete();
    }, 100);
  }

  #take(event: DialectEvent, nowMs: number): void {
    if (event.kind === 'refused') this.#refuse(event.reason, event.retryAfterSeconds);
    else if (event.kind === 'failed') this.#over(event.reason);
    else if (event.kind === 'end') this.#complete();
    else if (event.kind === 'partial') {
      this.#partials++;
      this.#hear(event.text, nowMs);
    } else if (event.kind === 'final') {
      const receivedMs = event.receivedMs ?? nowMs;
      if (event.text !== '') this.#texts.push(event.text);
      for (const { endSeconds } of event.words) {
        this.#latencies.push(wordLatencySeconds(endSeconds, receivedMs, this.#sentMs, this.#frame, FRAME_SECONDS));
        this.#receivedMs.push(receivedMs);
      }
      this.#hear(event.text, receivedMs);
    }
  }

  #hear(text: string, nowMs: number): void {
    if (text.trim() === '') return;
    this.#firstTextMs ??= nowMs;
    this.#lastTextMs = Math.max(this.#lastTextMs ?? 0, nowMs);
  }

  #refuse(reason: string, retryAfterSeconds: number | null): void {
    if (this.#refusal !== null || this.#state !== 'lost') return;
    // In the middle of a stream it is no refusal but a loss
    if (this.#lastTextMs === null) {
      this.#state = 'refused';
      this.#refusal = { reason, afterMs: epochMs() - this.#connectMs, retryAfterSeconds };
      this.#parts.onRefused();
    }
    this.#over(reason);
  }

  #complete(): void {
    for (const event of this.#dialect.flush()) this.#take(event, epochMs());
    if (this.#state === 'lost') this.#state = 'done';
    this.#over('done');
  }

  #over(reason: string): void {
    if (this.#state === 'lost' && this.#failure === 'no answer') this.#failure = reason;
    this.#isTaking = false;
    this.#clearDeadline();
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.close();
    else this.#socket?.terminate();
    this.#finish();
  }

  #clearDeadline(): void {
    // It may be a timeout or an interval; Node clears both alike
    if (this.#deadline !== null) clearTimeout(this.#deadline);
    this.#deadline = null;
  }
}

// Audio in any container and codec to mono 16 kHz PCM: streamed, pulled by the reader, in constant memory.

import { AVERROR_EOF } from 'node-av/constants';
import { type CodecContext, Frame, Packet } from 'node-av/lib';
import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import { BlockBuffer } from './block-buffer.ts';
import type { ByteSource } from './byte-source.ts';
import { Demuxer } from './demuxer.ts';
import { FrameConverter } from './frame-converter.ts';
import { LiveSource } from './live-source.ts';
import type { ReaderSlots } from './reader-slots.ts';
import { sniff } from './sniff.ts';
import { SpooledSource } from './spooled-source.ts';

/** 0.5 s. */
const BLOCK_SAMPLES = SAMPLE_RATE / 2;

export interface ContainerOptions {
  readonly signal?: AbortSignal;
  /** Longer audio fails with `audio_too_long`, when this much has been given. @default no limit */
  readonly maxSeconds?: number;
  /**
   * True: the bytes arrive as they are recorded, and PCM is given as soon as they allow; containers that need seeking are
   * still decoded, at the end of the bytes. False: all bytes are spooled to a temporary file first. @default false
   */
  readonly live?: boolean;
  /** Bounds the live decoders of this process; required by a server. @default no limit */
  readonly slots?: ReaderSlots;
  /** Limit of the temporary file. @default 4 GiB */
  readonly maxSpoolBytes?: number;
  /** Where temporary files go. @default the system's folder for them */
  readonly spoolFolder?: string;
  /** Told before the first block how long the container claims to be, if it says so; a damaged one may be wrong. */
  readonly onDuration?: (seconds: number) => void;
}

/**
 * Yields blocks of 0.5 s, mono, 16 kHz, -1 to 1, each a new array; the last is shorter, and with `live` also those after
 * which no bytes are there to go on. A damaged packet becomes
 * silence of its length, so that later times stay right; a cut end ends the audio.
 *
 * @throws WhisperError `undecodable_audio` (not audio, or damaged from the start), `no_audio` (decodes to nothing),
 * `audio_too_long`, `payload_too_large`, `cancelled`, `overloaded`; and whatever the source throws
 */
export async function* decodeContainer(
  source: AsyncIterable<Uint8Array>,
  options: ContainerOptions = {},
): AsyncGenerator<Float32Array, void, undefined> {
  const signal = options.signal ?? new AbortController().signal;
  throwIfCancelled(signal);
  const release = options.live ? options.slots?.acquire() : undefined;
  const iterator = source[Symbol.asyncIterator]();
  let bytes: ByteSource | null = null;
  const onAbort = () => bytes?.stop();
  signal.addEventListener('abort', onAbort);
  try {
    const { head, format, needsSeeking } = await readHead(iterator, signal);
    if (head.length === 0) throw new WhisperError('no_audio', 'The input is empty.');
    bytes =
      options.live && !needsSeeking
        ? new LiveSource(head, iterator)
        : await SpooledSource.create(rest(head, iterator, signal), {
            maxBytes: options.maxSpoolBytes ?? 4 * 2 ** 30,
            signal,
            folder: options.spoolFolder,
          });
    yield* decodeSource(bytes, format, options, signal);
  } catch (error) {
    throwIfCancelled(signal);
    throw bytes?.error ?? error;
  } finally {
    signal.removeEventListener('abort', onAbort);
    await bytes?.close();
    release?.();
    // Not awaited: an async generator answers return() only after the next() that may still be pending.
    Promise.resolve(iterator.return?.()).catch(() => {});
  }
}

async function* decodeSource(bytes: ByteSource, format: string | null, options: ContainerOptions, signal: AbortSignal) {
  const demuxer = new Demuxer();
  const packet = new Packet();
  const converter = new FrameConverter();
  const blocks = new BlockBuffer(BLOCK_SAMPLES);
  const maxSamples = (options.maxSeconds ?? Number.POSITIVE_INFINITY) * SAMPLE_RATE;
  let decoder: FrameDecoder | null = null;
  let reading: Promise<boolean> = Promise.resolve(false);
  let sampleCount = 0;
  const emit = (pcm: Float32Array): void => {
    sampleCount += pcm.length;
    blocks.push(pcm);
  };
  try {
    packet.alloc();
    await demuxer.open(bytes, format, options.live ?? false);
    decoder = new FrameDecoder(demuxer.openDecoder());
    if (demuxer.durationSeconds !== null) options.onDuration?.(demuxer.durationSeconds);
    for (let more = true; more; ) {
      reading = demuxer.read(packet);
      if (options.live && (await starvedBefore(reading, bytes))) {
        const rest = blocks.takeRest();
        if (rest) yield rest;
      }
      more = await reading;
      throwIfCancelled(signal);
      if (bytes.error !== null) throw bytes.error;
      const decoded = decoder.decode(more ? packet : null, (frame) => converter.push(frame, emit));
      if (!decoded && more) converter.pushSilence(demuxer.secondsOf(packet), emit);
      if (!more) converter.flush(emit);
      for (let block = blocks.shift(); block; block = blocks.shift()) yield block;
      if (sampleCount > maxSamples) throw new WhisperError('audio_too_long', `The audio is longer than ${options.maxSeconds} seconds.`);
    }
    const rest = blocks.takeRest();
    if (rest) yield rest;
    if (decoder.frames > 0) return;
    if (decoder.failures > 0) throw new WhisperError('undecodable_audio', 'The audio track is damaged: not one frame of it decodes.');
    throw new WhisperError('no_audio', 'The file holds an audio track without a single sample.');
  } finally {
    // The reader may leave while FFmpeg waits for bytes: nothing is freed under it.
    bytes.stop();
    await reading.catch(() => {});
    decoder?.close();
    converter.close();
    packet.free();
    await demuxer.close();
  }
}

/** A codec context that goes on after damaged packets. */
class FrameDecoder {
  /** Frames with samples in them. */
  frames = 0;
  /** Packets that did not decode. */
  failures = 0;
  readonly #codec: CodecContext;
  readonly #frame = new Frame();

  constructor(codec: CodecContext) {
    this.#codec = codec;
    this.#frame.alloc();
  }

  /** @param packet null: the end @returns false where the packet is damaged and gave nothing */
  decode(packet: Packet | null, onFrame: (frame: Frame) => void): boolean {
    const sent = this.#codec.sendPacketSync(packet);
    const framesBefore = this.frames;
    while (this.#codec.receiveFrameSync(this.#frame) >= 0) {
      if (this.#frame.nbSamples > 0) {
        this.frames++;
        onFrame(this.#frame);
      }
      this.#frame.unref();
    }
    if (sent >= 0 || sent === AVERROR_EOF) return true;
    this.failures++;
    return this.frames > framesBefore;
  }

  close(): void {
    this.#frame.free();
    this.#codec.freeContext();
  }
}

/** True as soon as the source runs dry while the read goes on. */
function starvedBefore(reading: Promise<unknown>, bytes: ByteSource): Promise<boolean> {
  return new Promise((resolve) => {
    bytes.onStarve = () => resolve(true);
    reading.then(
      () => resolve(false),
      () => resolve(false),
    );
  });
}

async function readHead(iterator: AsyncIterator<Uint8Array>, signal: AbortSignal) {
  let head: Uint8Array = new Uint8Array(0);
  for (;;) {
    const sniffed = sniff(head);
    if (sniffed) return { head, ...sniffed };
    const next = await abortable(iterator.next(), signal);
    if (next.done) return { head, format: null, needsSeeking: false };
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
}

async function* rest(head: Uint8Array, iterator: AsyncIterator<Uint8Array>, signal: AbortSignal) {
  yield head;
  for (let next = await abortable(iterator.next(), signal); !next.done; next = await abortable(iterator.next(), signal)) yield next.value;
}

/** Rejects at once on abort; what the promise gives later is dropped. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function throwIfCancelled(signal: AbortSignal): void {
  if (!signal.aborted) return;
  if (signal.reason instanceof WhisperError) throw signal.reason;
  throw new WhisperError('cancelled', 'The request was cancelled.', { cause: signal.reason });
}

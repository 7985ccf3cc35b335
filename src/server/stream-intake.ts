// From a stream's binary messages to samples: headerless PCM is decoded as it comes, a container is pulled through the demuxer.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { decodeContainer } from '../audio/container.ts';
import { createRawDecoder } from '../audio/raw-pcm.ts';
import type { ReaderSlots } from '../audio/reader-slots.ts';
import { WhisperError } from '../core/errors.ts';
import type { StreamConfig } from '../protocol/stream-config.ts';
import { ByteQueue } from './byte-queue.ts';

/** Takes decoded samples; a promise asks for a pause until it resolves. */
export type TakeSamples = (pcm: Float32Array) => Promise<void> | undefined;

/** Every promise rejects with a WhisperError where the audio can't be decoded. */
export interface StreamIntake {
  /** A promise means: read no further until it resolves. */
  push(bytes: Uint8Array): Promise<void> | undefined;
  /** Resolves when all that was pushed has been handed on, as far as it can be decoded without what comes next. */
  settled(): Promise<void> | undefined;
  /** No more bytes come: hands on the rest. */
  end(): Promise<void>;
  /** Idempotent; nothing is handed on any more. */
  close(): void;
}

export interface IntakeOptions {
  readonly take: TakeSamples;
  /** A failure while nobody waits for one of the promises. */
  readonly onError: (error: unknown) => void;
  readonly maxSeconds: number;
  readonly maxUndecodedBytes: number;
  /** Of a container that can be decoded at its end only. */
  readonly maxSpoolBytes: number;
  readonly readerSlots: ReaderSlots;
  readonly signal: AbortSignal;
}

/** One message is decoded in slices of this size, so that a large one waits undecoded while the session catches up. */
const SLICE_BYTES = 64 * 1024;

export function createIntake(config: StreamConfig, options: IntakeOptions): StreamIntake {
  return config.encoding === 'container' ? containerIntake(options) : rawIntake({ ...config, encoding: config.encoding }, options);
}

type RawConfig = Pick<StreamConfig, 'sample_rate' | 'channels'> & { readonly encoding: Exclude<StreamConfig['encoding'], 'container'> };

function rawIntake(config: RawConfig, { take }: IntakeOptions): StreamIntake {
  const decoder = createRawDecoder({ encoding: config.encoding, sampleRate: config.sample_rate, channels: config.channels });
  let closed = false;

  function pushFrom(bytes: Uint8Array, start: number): Promise<void> | undefined {
    for (let at = start; at < bytes.length && !closed; at += SLICE_BYTES) {
      const wait = take(decoder.push(bytes.subarray(at, at + SLICE_BYTES)));
      if (wait !== undefined) return wait.then(() => pushFrom(bytes, at + SLICE_BYTES));
    }
    return undefined;
  }

  return {
    push: (bytes) => pushFrom(bytes, 0),
    settled: () => undefined,
    async end() {
      if (closed) return;
      await take(decoder.flush());
      if (decoder.danglingBytes > 0) {
        throw new WhisperError(
          'undecodable_audio',
          `expected whole ${config.encoding} samples of ${config.channels} channel(s), got ${decoder.danglingBytes} bytes more at the end`,
        );
      }
    },
    close() {
      if (closed) return;
      closed = true;
      decoder.close();
    },
  };
}

function containerIntake({
  take,
  onError,
  maxSeconds,
  maxUndecodedBytes,
  maxSpoolBytes,
  readerSlots,
  signal,
}: IntakeOptions): StreamIntake {
  const queue = new ByteQueue(maxUndecodedBytes);
  let closed = false;
  let failure: unknown = null;

  async function pump(): Promise<void> {
    try {
      for await (const pcm of decodeContainer(queue, { signal, maxSeconds, maxSpoolBytes, slots: readerSlots, live: true })) {
        if (closed) return;
        await take(pcm);
      }
    } catch (error) {
      failure = error;
      // Whoever waits for room or for the end must not wait for a decoder that is gone.
      queue.close();
      if (!closed) onError(error);
    }
  }
  const pumped = pump();

  return {
    push: (bytes) => queue.push(bytes),
    async settled() {
      await queue.drained();
      // The decoder gives what it has when it finds no more bytes: that passes through promises only, so it is here in a turn.
      await nextTurn();
    },
    async end() {
      queue.end();
      await pumped;
      if (failure !== null) throw failure;
    },
    close() {
      closed = true;
      queue.close();
    },
  };
}

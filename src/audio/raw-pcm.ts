// Headerless PCM in any of the wire's encodings to mono 16 kHz float, cut at any byte.

import { AV_CHANNEL_ORDER_UNSPEC, AV_SAMPLE_FMT_FLT } from 'node-av/constants';
import { SAMPLE_RATE } from '../core/units.ts';
import { Downmix } from './downmix.ts';
import { A_LAW, MU_LAW } from './g711.ts';
import { Resampler } from './resampler.ts';

export type RawEncoding = 'pcm_s16le' | 'pcm_f32le' | 'mulaw' | 'alaw';

/** Checked by the caller: the wire's configuration is validated once, at its edge. */
export interface RawFormat {
  readonly encoding: RawEncoding;
  /** 8000-48000 Hz. @default 16000 */
  readonly sampleRate?: number;
  /** Interleaved; 1-8. @default 1 */
  readonly channels?: number;
}

/** The samples that came out do not depend on how the bytes were cut. */
export interface RawDecoder {
  /** @returns mono, 16 kHz, -1 to 1; a new array; empty where the bytes did not complete a sample */
  push(bytes: Uint8Array): Float32Array;
  /** The resampler's tail, at the end of the stream. */
  flush(): Float32Array;
  /** Bytes at the end that did not complete a sample of all channels; 0 for a well-formed stream. */
  readonly danglingBytes: number;
  /** Frees native memory; idempotent. */
  close(): void;
}

const BYTES_PER_SAMPLE = { pcm_s16le: 2, pcm_f32le: 4, mulaw: 1, alaw: 1 } as const satisfies Record<RawEncoding, number>;

export function createRawDecoder(format: RawFormat): RawDecoder {
  const { encoding, sampleRate = SAMPLE_RATE, channels = 1 } = format;
  const frameBytes = BYTES_PER_SAMPLE[encoding] * channels;
  const carried = new Uint8Array(frameBytes);
  let carriedBytes = 0;
  // Unspecified order: raw channels have no speaker positions, so that swresample must not mix them.
  const layout = { nbChannels: channels, order: AV_CHANNEL_ORDER_UNSPEC, mask: 0n };
  const resampler = sampleRate === SAMPLE_RATE ? null : new Resampler({ format: AV_SAMPLE_FMT_FLT, sampleRate, layout }, layout);
  const downmix = new Downmix(channels);

  const convert = (samples: Float32Array): Float32Array => {
    if (samples.length === 0) return samples;
    if (resampler) return downmix.push(resampler.push([asBuffer(samples)], samples.length / channels)).slice();
    return channels === 1 ? samples : downmix.push(deinterleave(samples, channels));
  };

  return {
    push(bytes) {
      let head: Float32Array | null = null;
      let start = 0;
      if (carriedBytes > 0) {
        start = Math.min(frameBytes - carriedBytes, bytes.length);
        carried.set(bytes.subarray(0, start), carriedBytes);
        carriedBytes += start;
        if (carriedBytes < frameBytes) return new Float32Array(0);
        head = toFloat(carried, encoding, channels, 0);
        carriedBytes = 0;
      }
      const end = start + Math.floor((bytes.length - start) / frameBytes) * frameBytes;
      const headSamples = head === null ? 0 : channels;
      const samples = toFloat(bytes.subarray(start, end), encoding, ((end - start) / frameBytes) * channels, headSamples);
      if (head) samples.set(head);
      carriedBytes = bytes.length - end;
      carried.set(bytes.subarray(end));
      return convert(samples);
    },
    flush() {
      const tail = resampler ? downmix.push(resampler.flush()) : new Float32Array(0);
      const rest = downmix.flush();
      const output = new Float32Array(tail.length + rest.length);
      output.set(tail);
      output.set(rest, tail.length);
      return output;
    },
    get danglingBytes() {
      return carriedBytes;
    },
    close() {
      resampler?.close();
    },
  };
}

/** @param lead zeros to leave in front of the `count` samples */
function toFloat(bytes: Uint8Array, encoding: RawEncoding, count: number, lead: number): Float32Array {
  const samples = new Float32Array(lead + count);
  if (encoding === 'mulaw' || encoding === 'alaw') {
    const table = encoding === 'mulaw' ? MU_LAW : A_LAW;
    for (let i = 0; i < count; i++) samples[lead + i] = table[bytes[i]];
    return samples;
  }
  if (encoding === 'pcm_s16le') {
    for (let i = 0, at = 0; i < count; i++, at += 2) samples[lead + i] = (((bytes[at] | (bytes[at + 1] << 8)) << 16) >> 16) / 32768;
    return samples;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < count; i++) {
    const value = view.getFloat32(4 * i, true);
    // A NaN would spread over the resampler's whole filter; an infinity is no more of a sample.
    samples[lead + i] = Number.isFinite(value) ? Math.max(-1, Math.min(1, value)) : 0;
  }
  return samples;
}

function deinterleave(samples: Float32Array, channels: number): Float32Array[] {
  const count = samples.length / channels;
  const planes = Array.from({ length: channels }, () => new Float32Array(count));
  for (let channel = 0; channel < channels; channel++) {
    const plane = planes[channel];
    for (let i = 0, at = channel; i < count; i++, at += channels) plane[i] = samples[at];
  }
  return planes;
}

function asBuffer(samples: Float32Array): Buffer {
  return Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);
}

// Streaming sample-rate and sample-format conversion to planar 16 kHz float, by libswresample.

import type { AVSampleFormat } from 'node-av/constants';
import { AV_SAMPLE_FMT_FLTP } from 'node-av/constants';
import type { ChannelLayout } from 'node-av/lib';
import { SoftwareResampleContext } from 'node-av/lib';
import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE } from '../core/units.ts';

/** Rates outside are taken for damage: swresample would reserve huge filters for them. */
const MIN_RATE = 1_000;
const MAX_RATE = 768_000;
/** node-av passes 8 planes to swresample; it would write through null pointers for more. */
const MAX_CHANNELS = 8;

export interface ResamplerInput {
  readonly format: AVSampleFormat;
  /** Samples per second per channel. */
  readonly sampleRate: number;
  readonly layout: ChannelLayout;
}

/** Holds a native context: call `close()`. */
export class Resampler {
  readonly channels: number;
  readonly #context = new SoftwareResampleContext();
  #planes: Buffer[] = [];
  #views: Float32Array[] = [];
  #capacity = 0;
  #closed = false;

  /**
   * @param output its layout; swresample mixes by speaker position where it differs from the input's
   * @throws WhisperError `undecodable_audio` where swresample cannot convert this input
   */
  constructor(input: ResamplerInput, output: ChannelLayout) {
    this.channels = output.nbChannels;
    const { nbChannels } = input.layout;
    const sane = input.sampleRate >= MIN_RATE && input.sampleRate <= MAX_RATE && nbChannels >= 1 && nbChannels <= MAX_CHANNELS;
    const code = sane
      ? this.#context.allocSetOpts2(output, AV_SAMPLE_FMT_FLTP, SAMPLE_RATE, input.layout, input.format, input.sampleRate)
      : -1;
    if (code < 0 || this.#context.init() < 0) {
      this.close();
      throw new WhisperError('undecodable_audio', `Audio of ${input.sampleRate} Hz and ${nbChannels} channels cannot be converted.`);
    }
  }

  /**
   * @param planes the input's planes (one, interleaved, for packed formats)
   * @param sampleCount samples per channel in them
   * @returns `[channels][samples]`, finite and within -1 to 1, valid until the next call
   */
  push(planes: Buffer[], sampleCount: number): Float32Array[] {
    return this.#convert(planes, sampleCount);
  }

  /** The filter's tail, once, at the end. */
  flush(): Float32Array[] {
    return this.#convert(null, 0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#context.free();
  }

  #convert(planes: Buffer[] | null, sampleCount: number): Float32Array[] {
    this.#reserve(this.#context.getOutSamples(sampleCount) + 64);
    const written = this.#context.convertSync(this.#planes, this.#capacity, planes, sampleCount);
    if (written < 0) throw new WhisperError('undecodable_audio', 'The audio cannot be resampled.');
    return this.#views.map((view) => sanitise(view.subarray(0, written)));
  }

  #reserve(samples: number): void {
    if (samples <= this.#capacity) return;
    this.#capacity = samples;
    this.#views = Array.from({ length: this.channels }, () => new Float32Array(samples));
    this.#planes = this.#views.map((view) => Buffer.from(view.buffer));
  }
}

/** The filter overshoots full scale, and float files may hold anything. */
function sanitise(samples: Float32Array): Float32Array {
  for (let i = 0; i < samples.length; i++) {
    const sample = samples[i];
    if (!(sample >= -1 && sample <= 1)) samples[i] = Number.isNaN(sample) ? 0 : Math.sign(sample);
  }
  return samples;
}

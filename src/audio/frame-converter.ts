// Decoded FFmpeg frames of any format to mono 16 kHz float, also when the format changes on the way.

import { AV_CHANNEL_LAYOUT_STEREO, AV_CHANNEL_ORDER_NATIVE, type AVSampleFormat } from 'node-av/constants';
import type { ChannelLayout, Frame } from 'node-av/lib';
import { WhisperError } from '../core/errors.ts';
import { toSamples } from '../core/units.ts';
import { Downmix } from './downmix.ts';
import { Resampler } from './resampler.ts';

/** More than any codec packs into one packet; a damaged file may claim hours. */
const MAX_SILENCE_SECONDS = 1;

/** Gives back arrays that are valid until the next call. */
export class FrameConverter {
  #key = '';
  #resampler: Resampler | null = null;
  #downmix: Downmix | null = null;

  /** @param emit called with each piece of mono audio, in order */
  push(frame: Frame, emit: (pcm: Float32Array) => void): void {
    const layout = frame.channelLayout;
    const key = `${frame.format}/${frame.sampleRate}/${layout.nbChannels}/${layout.order}/${layout.mask}`;
    if (key !== this.#key) {
      this.flush(emit);
      this.#open(frame, layout);
      this.#key = key;
    }
    const planes = frame.extendedData;
    if (planes === null || this.#resampler === null || this.#downmix === null) {
      throw new WhisperError('internal', 'A decoded frame holds no samples.');
    }
    emit(this.#downmix.push(this.#resampler.push(planes, frame.nbSamples)));
  }

  /** In place of audio that is lost. */
  pushSilence(seconds: number, emit: (pcm: Float32Array) => void): void {
    this.flush(emit);
    emit(new Float32Array(toSamples(Math.min(Math.max(0, seconds), MAX_SILENCE_SECONDS))));
  }

  /** The tails of resampler and mix; a later push starts anew. */
  flush(emit: (pcm: Float32Array) => void): void {
    if (this.#resampler && this.#downmix) {
      emit(this.#downmix.push(this.#resampler.flush()));
      emit(this.#downmix.flush());
    }
    this.close();
  }

  close(): void {
    this.#resampler?.close();
    this.#resampler = null;
    this.#downmix = null;
    this.#key = '';
  }

  #open(frame: Frame, layout: ChannelLayout): void {
    // More than two channels with known positions are mixed to stereo by FFmpeg, which knows that speech is in the centre.
    const surround = layout.nbChannels > 2 && layout.order === AV_CHANNEL_ORDER_NATIVE;
    const input = { format: frame.format as AVSampleFormat, sampleRate: frame.sampleRate, layout };
    this.#resampler = new Resampler(input, surround ? AV_CHANNEL_LAYOUT_STEREO : layout);
    this.#downmix = new Downmix(this.#resampler.channels);
  }
}

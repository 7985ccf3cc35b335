// Channels to mono: their mean, or the loudest channel where the mean cancels (antiphase recordings).

/** 20 ms: the decision's grid, so that it does not depend on how the stream is cut. */
const FRAME = 320;
/** Smoothing of the energies per frame: a time constant of about 0.1 s. */
const DECAY = 0.8;
/** The mix cancels below this share of what the loudest channel alone brings to it; it is trusted again above RECOVERED. */
const CANCELLED = 0.1;
const RECOVERED = 0.3;

/** Streaming; not more than 20 ms stay inside until `flush()`. */
export class Downmix {
  readonly #channels: number;
  readonly #frame: Float32Array[];
  #filled = 0;
  readonly #energies: Float64Array;
  #mixEnergy = 0;
  /** The channel in use instead of the mix, or -1. */
  #soloChannel = -1;
  #first = true;

  constructor(channels: number) {
    this.#channels = channels;
    this.#frame = Array.from({ length: channels }, () => new Float32Array(FRAME));
    this.#energies = new Float64Array(channels);
  }

  /** @param planes `[channels][samples]`, not modified @returns mono; one channel is handed back as it is */
  push(planes: readonly Float32Array[]): Float32Array {
    if (this.#channels === 1) return planes[0];
    const count = planes[0].length;
    const output = new Float32Array(Math.floor((this.#filled + count) / FRAME) * FRAME);
    let written = 0;
    for (let at = 0; at < count; ) {
      const take = Math.min(FRAME - this.#filled, count - at);
      for (let channel = 0; channel < this.#channels; channel++) {
        this.#frame[channel].set(planes[channel].subarray(at, at + take), this.#filled);
      }
      this.#filled += take;
      at += take;
      if (this.#filled < FRAME) break;
      this.#mixFrame(output, written);
      written += FRAME;
    }
    return output;
  }

  /** What is left, at the end. */
  flush(): Float32Array {
    const output = new Float32Array(this.#filled);
    if (this.#filled > 0) this.#mixFrame(output, 0);
    return output;
  }

  #mixFrame(output: Float32Array, start: number): void {
    const count = this.#filled;
    this.#filled = 0;
    const channels = this.#channels;
    let sumEnergy = 0;
    for (let i = 0; i < count; i++) {
      let sum = 0;
      for (let channel = 0; channel < channels; channel++) sum += this.#frame[channel][i];
      output[start + i] = sum / channels;
      sumEnergy += sum * sum;
    }
    this.#mixEnergy = DECAY * this.#mixEnergy + sumEnergy;
    let loudest = 0;
    for (let channel = 0; channel < channels; channel++) {
      let energy = 0;
      const plane = this.#frame[channel];
      for (let i = 0; i < count; i++) energy += plane[i] * plane[i];
      this.#energies[channel] = DECAY * this.#energies[channel] + energy;
      if (this.#energies[channel] > this.#energies[loudest]) loudest = channel;
    }

    const before = this.#soloChannel;
    const share = this.#energies[loudest] > 0 ? this.#mixEnergy / this.#energies[loudest] : 1;
    if (before < 0 && share < CANCELLED) this.#soloChannel = loudest;
    else if (before >= 0 && share > RECOVERED) this.#soloChannel = -1;
    const after = this.#soloChannel;
    // A change fades over its frame, to make no click; at the very start there is nothing to fade from.
    const fadeFrom = this.#first ? after : before;
    this.#first = false;
    if (fadeFrom < 0 && after < 0) return;
    for (let i = 0; i < count; i++) {
      const mix = output[start + i];
      const from = fadeFrom < 0 ? mix : this.#frame[fadeFrom][i];
      const to = after < 0 ? mix : this.#frame[after][i];
      output[start + i] = from + ((to - from) * (i + 1)) / count;
    }
  }
}

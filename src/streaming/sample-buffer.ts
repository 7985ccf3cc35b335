// A ring of PCM addressed by absolute sample positions: append at the end, forget from the start, copy out between.

const SMALLEST_CAPACITY = 16_384;

export class SampleBuffer {
  #ring = new Float32Array(SMALLEST_CAPACITY);
  #start = 0;
  #end = 0;

  /** Position of the oldest sample held. */
  get start(): number {
    return this.#start;
  }

  /** Position after the newest sample: the number of samples ever appended. */
  get end(): number {
    return this.#end;
  }

  /** Samples of memory in use, held or not; a power of two. */
  get capacity(): number {
    return this.#ring.length;
  }

  /** Copies the samples; the caller may reuse the array. */
  append(pcm: Float32Array): void {
    const held = this.#end - this.#start;
    if (held + pcm.length > this.#ring.length) this.#resize(held + pcm.length);
    const at = this.#end % this.#ring.length;
    const first = Math.min(pcm.length, this.#ring.length - at);
    this.#ring.set(pcm.subarray(0, first), at);
    this.#ring.set(pcm.subarray(first), 0);
    this.#end += pcm.length;
  }

  /** A copy of the samples in [from, to). */
  slice(from: number, to: number): Float32Array {
    if (from < this.#start || to > this.#end || from > to) {
      throw new RangeError(`samples [${from}, ${to}) asked for, [${this.#start}, ${this.#end}) held`);
    }
    const copy = new Float32Array(to - from);
    const at = from % this.#ring.length;
    const first = Math.min(copy.length, this.#ring.length - at);
    copy.set(this.#ring.subarray(at, at + first), 0);
    copy.set(this.#ring.subarray(0, copy.length - first), first);
    return copy;
  }

  /** Forgets what lies before `position`; going back does nothing. */
  dropBefore(position: number): void {
    this.#start = Math.max(this.#start, Math.min(position, this.#end));
    // A burst must not keep its memory for the rest of a long stream.
    if (this.#ring.length > SMALLEST_CAPACITY && (this.#end - this.#start) * 4 < this.#ring.length)
      this.#resize((this.#end - this.#start) * 2);
  }

  #resize(leastCapacity: number): void {
    let capacity = SMALLEST_CAPACITY;
    while (capacity < leastCapacity) capacity *= 2;
    if (capacity === this.#ring.length) return;
    const held = this.slice(this.#start, this.#end);
    this.#ring = new Float32Array(capacity);
    const at = this.#start % capacity;
    const first = Math.min(held.length, capacity - at);
    this.#ring.set(held.subarray(0, first), at);
    this.#ring.set(held.subarray(first), 0);
  }
}

// Gathers pieces of PCM into blocks of one size.

export class BlockBuffer {
  readonly #blockSamples: number;
  readonly #ready: Float32Array[] = [];
  #block: Float32Array;
  #filled = 0;

  constructor(blockSamples: number) {
    this.#blockSamples = blockSamples;
    this.#block = new Float32Array(blockSamples);
  }

  /** Copies. */
  push(pcm: Float32Array): void {
    for (let at = 0; at < pcm.length; ) {
      const take = Math.min(this.#blockSamples - this.#filled, pcm.length - at);
      this.#block.set(pcm.subarray(at, at + take), this.#filled);
      this.#filled += take;
      at += take;
      if (this.#filled === this.#blockSamples) {
        this.#ready.push(this.#block);
        this.#block = new Float32Array(this.#blockSamples);
        this.#filled = 0;
      }
    }
  }

  /** The next whole block, or null. */
  shift(): Float32Array | null {
    return this.#ready.shift() ?? null;
  }

  /** What has not filled a block yet, or null; whole blocks are shifted first. */
  takeRest(): Float32Array | null {
    if (this.#filled === 0) return null;
    const rest = this.#block.slice(0, this.#filled);
    this.#filled = 0;
    return rest;
  }
}

// Random numbers that a seed repeats: the same seed, the same day.

export interface Random {
  /** In [0, 1). */
  uniform(): number;
  /** In [low, high). */
  between(low: number, high: number): number;
  /** In [0, count), an integer. */
  index(count: number): number;
  /** Exponentially distributed. */
  exponential(mean: number): number;
  /** Log-normally distributed. @param variation standard deviation over mean; 0 is always the mean */
  logNormal(mean: number, variation: number): number;
}

/** Mulberry32: one word of state, all 2^32 of them visited; enough for a simulation, not for secrets. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  // 1 - uniform is never 0, of which there is no logarithm
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return {
    uniform,
    between: (low, high) => low + (high - low) * uniform(),
    index: (count) => Math.floor(uniform() * count),
    exponential: (mean) => -mean * Math.log(1 - uniform()),
    logNormal(mean, variation) {
      const variance = Math.log(1 + variation * variation);
      return mean * Math.exp(Math.sqrt(variance) * normal() - variance / 2);
    },
  };
}

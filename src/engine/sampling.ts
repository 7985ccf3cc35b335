// Probabilities from logits, and tokens drawn by them.

/** softmax(logits)[token] */
export function probabilityOf(token: number, logits: Float32Array): number {
  return Math.exp((logits[token] as number) - logSumExp(logits));
}

function logSumExp(logits: Float32Array): number {
  let peak = -Infinity;
  for (let i = 0; i < logits.length; i++) if ((logits[i] as number) > peak) peak = logits[i] as number;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp((logits[i] as number) - peak);
  return peak + Math.log(sum);
}

/** Draws a token from softmax((logits + mask) / temperature); its log-probability is that at temperature 1. */
export function sample(
  logits: Float32Array,
  mask: Float32Array,
  temperature: number,
  random: number,
): { token: number; logProbability: number } {
  const masked = logits.map((logit, i) => logit + (mask[i] as number));
  const total = logSumExp(masked.map((logit) => logit / temperature));
  let rest = random;
  let token = 0;
  for (let i = 0; i < masked.length; i++) {
    const probability = Math.exp((masked[i] as number) / temperature - total);
    if (probability === 0) continue;
    token = i;
    rest -= probability;
    if (rest < 0) break;
  }
  return { token, logProbability: (masked[token] as number) - logSumExp(masked) };
}

/** mulberry32: numbers in [0, 1) that are the same on every run. */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

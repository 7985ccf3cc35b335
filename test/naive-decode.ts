// Decoding as slow and plain as it can be: every hypothesis alone, from its first token, each step. What the batched decoder must equal.

import { CrossCache, SelfCache } from '../src/engine/caches.ts';
import { MASKED, type ModelSession } from '../src/engine/model-session.ts';
import { SAMPLES_PER_POSITION } from '../src/engine/positions.ts';

export interface NaiveText {
  readonly tokens: readonly number[];
  /** Of the tokens and of the end, where it was reached. */
  readonly logProbabilities: readonly number[];
  readonly ended: boolean;
}

interface Hypothesis {
  readonly tokens: readonly number[];
  readonly logProbabilities: readonly number[];
}

const sumOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** One forward pass over `tokens`: log-probabilities after the mask at the last one, and the alignment of all [heads, rows, positions]. */
export async function forward(
  session: ModelSession,
  cross: CrossCache,
  tokens: readonly number[],
  mask: Float32Array,
): Promise<{ logProbabilities: Float64Array; alignment: Float32Array }> {
  const self = new SelfCache(session.shape);
  self.reset(1);
  const count = tokens.length;
  const selfBias = new Float32Array(count * count);
  for (let q = 0; q < count; q++) selfBias.fill(MASKED, q * count + q + 1, (q + 1) * count);
  const { logits, alignment } = await session.step(
    {
      tokens: BigInt64Array.from(tokens, BigInt),
      positions: BigInt64Array.from(tokens, (_, i) => BigInt(i)),
      count,
      selfBias,
      select: BigInt64Array.of(BigInt(count - 1)),
      selected: 1,
      mask,
      candidates: 1,
      withLogits: true,
    },
    cross,
    self,
  );
  const masked = Float64Array.from(logits, (logit, i) => logit + (mask[i] as number));
  const peak = masked.reduce((a, b) => Math.max(a, b));
  const total = peak + Math.log(masked.reduce((sum, x) => sum + Math.exp(x - peak), 0));
  return { logProbabilities: masked.map((x) => x - total), alignment };
}

/** A cache that holds one window and is exactly as long. */
export async function encodeAlone(session: ModelSession, pcm: Float32Array): Promise<CrossCache> {
  const cross = new CrossCache(session.shape);
  cross.reset(1, pcm.length / SAMPLES_PER_POSITION);
  await session.encode(pcm, cross, 0);
  return cross;
}

export interface NaiveOptions {
  readonly initial: readonly number[];
  readonly mask: Float32Array;
  readonly firstMask: Float32Array;
  readonly beams: number;
  readonly endOfText: number;
  readonly limit: number;
}

/** Beam search with patience 1 (`whisper/decoding.py` BeamSearchDecoder), ranked by mean log-probability; one beam is greedy. */
export async function naiveDecode(session: ModelSession, cross: CrossCache, options: NaiveOptions): Promise<NaiveText> {
  const { initial, beams, endOfText, limit } = options;
  const finished: Hypothesis[] = [];
  let alive: Hypothesis[] = [{ tokens: [], logProbabilities: [] }];
  for (let length = 0; length < limit && alive.length > 0 && finished.length < beams; length++) {
    const continuations: Hypothesis[] = [];
    for (const { tokens, logProbabilities } of alive) {
      const mask = length === 0 ? options.firstMask : options.mask;
      const next = (await forward(session, cross, [...initial, ...tokens], mask)).logProbabilities;
      const ranked = [...next.keys()].sort((a, b) => (next[b] as number) - (next[a] as number));
      for (const token of ranked.slice(0, beams === 1 ? 1 : beams + 1)) {
        continuations.push({ tokens: [...tokens, token], logProbabilities: [...logProbabilities, next[token] as number] });
      }
    }
    continuations.sort((a, b) => sumOf(b.logProbabilities) - sumOf(a.logProbabilities));
    alive = [];
    for (const hypothesis of continuations) {
      if (hypothesis.tokens.at(-1) === endOfText) finished.push(hypothesis);
      else if (alive.push(hypothesis) === beams) break;
    }
  }
  const mean = ({ logProbabilities }: Hypothesis): number => sumOf(logProbabilities) / logProbabilities.length;
  const [best] = finished.sort((a, b) => mean(b) - mean(a));
  if (best) return { tokens: best.tokens.slice(0, -1), logProbabilities: best.logProbabilities, ended: true };
  const cut = alive[0] as Hypothesis;
  return { ...cut, ended: false };
}

// The first pass of a window: the decoder is forced through what is known, and a draft of the rest is verified on the way.

import type { EncodedWindows, SelfCache } from './caches.ts';
import { type Continuation, type DecodeJob, RunningWindow } from './decode.ts';
import { type AlignmentRow, extend, type Node } from './hypothesis.ts';
import { MASKED, type ModelSession } from './model-session.ts';
import { probabilityOf, sample } from './sampling.ts';

export interface PrefillOptions {
  /** Hypotheses kept for each window; 1 is greedy. */
  readonly beams: number;
  readonly endOfText: number;
  readonly noSpeech: number;
}

export interface Prefilled {
  readonly window: RunningWindow;
  /** Tokens whose columns in the self cache hold: all behind them belong to the rejected part of the draft. */
  readonly length: number;
}

/** @param self is reset; the window's one row is left in it */
export async function prefill(
  session: ModelSession,
  cross: EncodedWindows,
  self: SelfCache,
  job: DecodeJob,
  options: PrefillOptions,
): Promise<Prefilled> {
  const { initial, settled = [] } = job;
  const draft = options.beams === 1 && job.temperature === 0 ? (job.draft ?? []).slice(0, Math.max(0, job.limit - settled.length - 1)) : [];
  const guessed = [...settled.map(({ token }) => token), ...draft];
  const forced = [...initial, ...guessed];
  const count = forced.length;
  // The start token, for the no-speech probability, and then every position whose successor is not yet known.
  const first = initial.length + settled.length - 1;
  const select = BigInt64Array.from([job.startIndex, ...Array.from({ length: draft.length + 1 }, (_, i) => first + i)], BigInt);
  const candidates = options.beams === 1 ? 1 : options.beams + 1;
  self.reset(1);
  const output = await session.step(
    {
      tokens: BigInt64Array.from(forced, BigInt),
      positions: BigInt64Array.from(forced, (_, i) => BigInt(i)),
      count,
      selfBias: causalBias(count),
      select,
      selected: select.length,
      mask: masksOf(job, select.length),
      candidates,
      withLogits: true,
    },
    cross,
    self,
  );

  const vocabulary = session.config.vocabularySize;
  const rowOf = (query: number): AlignmentRow => ({
    data: output.alignment,
    offset: 0,
    queries: count,
    query,
    stride: cross.positions,
  });
  const forcedRows = Array.from({ length: initial.length - job.alignIndex }, (_, i) => rowOf(job.alignIndex + i));
  const noSpeechProbability = probabilityOf(options.noSpeech, output.logits.subarray(0, vocabulary));
  const window = new RunningWindow(job, noSpeechProbability, forcedRows, options);

  let node: Node | null = null;
  const take = (token: number, logProbability: number): void => {
    node = extend(node, token, logProbability);
    node.alignment = rowOf(initial.length + node.length - 1);
  };
  for (const { token, logProbability } of settled) take(token, logProbability);
  const predicted = (i: number): number => Number(output.tokens[(i + 1) * candidates]);
  for (const [i, token] of draft.entries()) {
    if (token !== predicted(i) || token === options.endOfText) break;
    take(token, output.values[(i + 1) * candidates] as number);
    window.acceptedTokens++;
  }

  const place = window.acceptedTokens + 1;
  const continuations: Continuation[] = [];
  if (job.temperature > 0) {
    const logits = output.logits.subarray(place * vocabulary, (place + 1) * vocabulary);
    const mask = settled.length === 0 ? job.firstMask : job.mask;
    continuations.push({ ...sample(logits, mask, job.temperature, job.random()), parent: node, source: 0 });
  } else {
    for (let c = place * candidates; c < (place + 1) * candidates; c++) {
      continuations.push({ token: Number(output.tokens[c]), logProbability: output.values[c] as number, parent: node, source: 0 });
    }
  }
  window.choose(continuations);
  return { window, length: initial.length + settled.length + window.acceptedTokens };
}

/** Each token sees itself and those before it. */
function causalBias(count: number): Float32Array {
  const bias = new Float32Array(count * count);
  for (let q = 0; q < count; q++) bias.fill(MASKED, q * count + q + 1, (q + 1) * count);
  return bias;
}

/** Only the text's first token has a mask of its own. */
function masksOf({ mask, firstMask, settled = [] }: DecodeJob, selected: number): Float32Array {
  if (mask === firstMask || settled.length > 0) return mask;
  if (selected === 2) return firstMask;
  const masks = new Float32Array(selected * mask.length);
  for (let m = 0; m < selected; m++) masks.set(m === 1 ? firstMask : mask, m * mask.length);
  return masks;
}

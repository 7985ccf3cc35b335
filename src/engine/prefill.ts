// The first pass of a window: the decoder is forced through what is known, and a draft of the rest is verified on the way.

import type { EncodedWindows, SelfCache } from './caches.ts';
import { continuationsOf, type DecodeJob, RunningWindow } from './decode.ts';
import { type AlignmentRow, type Candidates, extend, isLooping, type Node } from './hypothesis.ts';
import { MASKED, type ModelSession } from './model-session.ts';
import { probabilityOf, sample } from './sampling.ts';

export interface PrefillOptions {
  /** Hypotheses kept for each window; 1 is greedy. */
  readonly beams: number;
  /** Candidates that are ranked for each. @default what `beams` need */
  readonly candidates?: number;
  readonly endOfText: number;
  readonly noSpeech: number;
}

/** Of as many, one may be the end of text. */
export const candidatesFor = (beams: number): number => (beams === 1 ? 1 : beams + 1);

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
  const { candidates = candidatesFor(options.beams) } = options;
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

  const drawn = job.temperature > 0;
  /** What follows the settled tokens and `accepted` of the draft. */
  const candidatesAfter = (accepted: number): Candidates | null =>
    drawn ? null : { tokens: output.tokens, values: output.values, offset: (accepted + 1) * candidates, count: candidates };
  let node: Node | null = null;
  const take = (token: number, logProbability: number): Node => {
    node = extend(node, token, logProbability);
    node.alignment = rowOf(initial.length + node.length - 1);
    return node;
  };
  for (const { token, logProbability } of settled) take(token, logProbability);
  if (settled.length === 0) window.first = candidatesAfter(0);
  for (const token of draft) {
    const place = (window.acceptedTokens + 1) * candidates;
    const logProbability = output.values[place] as number;
    if (token !== Number(output.tokens[place]) || token === options.endOfText || isLooping(extend(node, token, logProbability))) break;
    window.acceptedTokens++;
    take(token, logProbability).next = candidatesAfter(window.acceptedTokens);
  }

  const next = candidatesAfter(window.acceptedTokens);
  if (next !== null) {
    window.choose(continuationsOf(next, node, 0));
  } else {
    const logits = output.logits.subarray(vocabulary, 2 * vocabulary);
    const mask = settled.length === 0 ? job.firstMask : job.mask;
    window.choose([{ ...sample(logits, mask, job.temperature, job.random()), parent: node, source: 0 }]);
  }
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

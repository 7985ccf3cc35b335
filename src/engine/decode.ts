// Decodes a batch of encoded windows to tokens: greedy, by beam search or by sampling. Windows that finish leave the batch.

import type { CrossCache, SelfCache } from './caches.ts';
import { MASKED, type ModelSession, type StepOutput } from './model-session.ts';
import { probabilityOf, sample } from './sampling.ts';

export interface DecodeJob {
  /** Everything the decoder is forced through: previous text, start tokens, forced words. At least the start token. */
  readonly initial: readonly number[];
  /** Index of `<|startoftranscript|>` in `initial`. */
  readonly startIndex: number;
  /** Index of the last start token in `initial`, where the alignment's rows begin. */
  readonly alignIndex: number;
  /** Added to the logits of every step, the same for all jobs of a batch; [vocabulary], 0 or MASKED. */
  readonly mask: Float32Array;
  /** Like `mask`, for the first token only. */
  readonly firstMask: Float32Array;
  /** Most tokens to decode. */
  readonly limit: number;
  /** 0 takes the likeliest; above, tokens are drawn at this temperature. Only with one beam. */
  readonly temperature: number;
  /** Asked before each step; a cancelled job leaves the batch and its result is null. */
  cancelled(): boolean;
}

export interface DecodedText {
  /** Without `<|endoftext|>`. */
  readonly tokens: readonly number[];
  /** Natural logarithms, one a token and one for the end, where it was reached. */
  readonly logProbabilities: readonly number[];
  /** False where the limit cut it. */
  readonly ended: boolean;
  readonly noSpeechProbability: number;
  /** Scaled q · k of the alignment heads, [heads, rows, positions]: a row for the last start token, each forced and each decoded token. */
  readonly alignment: Float32Array;
  readonly alignmentRows: number;
}

export interface DecodeOptions {
  /** Hypotheses kept for each window; 1 is greedy. */
  readonly beams: number;
  readonly endOfText: number;
  readonly noSpeech: number;
  /** 0 <= random() < 1; only drawn from at temperatures above 0. */
  random(): number;
}

/** A decoded token with its history: hypotheses that share a beginning share nodes. */
interface Node {
  readonly token: number;
  readonly logProbability: number;
  readonly sum: number;
  readonly length: number;
  readonly parent: Node | null;
  /** Where the alignment row of this token lies once it was fed back: [heads, queries, positions] from `offset`. */
  alignment: { readonly data: Float32Array; readonly offset: number; readonly queries: number; readonly query: number } | null;
}

interface Window {
  readonly job: DecodeJob;
  /** Index of the job's result. */
  readonly index: number;
  readonly padding: number;
  readonly prefill: StepOutput['alignment'];
  readonly noSpeechProbability: number;
  rows: Node[];
  readonly finished: { readonly node: Node | null; readonly endLogProbability: number; readonly score: number }[];
}

/**
 * Decodes window w of `cross` as `jobs[w]` says. Destroys `cross`: windows leave it as they finish.
 * @param onFinish called with the window's place in `cross` just before it leaves, while its caches are still there
 * @returns one result a job, null for cancelled ones
 */
export async function decodeBatch(
  session: ModelSession,
  cross: CrossCache,
  self: SelfCache,
  jobs: readonly DecodeJob[],
  options: DecodeOptions,
  onFinish?: (jobIndex: number, place: number, result: DecodedText) => void,
): Promise<(DecodedText | null)[]> {
  const results: (DecodedText | null)[] = jobs.map(() => null);
  const heads = session.config.alignmentHeads.length;
  const batch = new Batch(session, cross, self, options);
  let windows = await batch.prefill(jobs);
  for (;;) {
    const staying: Window[] = [];
    const leaving: number[] = [];
    windows.forEach((window, place) => {
      const cancelled = window.job.cancelled();
      if (!cancelled && !isFinished(window, options.beams)) {
        staying.push(window);
        return;
      }
      if (!cancelled) {
        const result = best(window, heads, cross);
        results[window.index] = result;
        onFinish?.(window.index, place, result);
      }
      leaving.push(place);
    });
    if (staying.length === 0) return results;
    windows = batch.remove(windows, leaving);
    await batch.step(windows);
  }
}

function isFinished(window: Window, beams: number): boolean {
  if (window.rows.length === 0 || window.finished.length >= beams) return true;
  return (window.rows[0] as Node).length >= window.job.limit;
}

class Batch {
  readonly #session: ModelSession;
  readonly #cross: CrossCache;
  readonly #self: SelfCache;
  readonly #options: DecodeOptions;

  constructor(session: ModelSession, cross: CrossCache, self: SelfCache, options: DecodeOptions) {
    this.#session = session;
    this.#cross = cross;
    this.#self = self;
    this.#options = options;
  }

  /** Forces all jobs through their initial tokens in one pass; shorter ones are padded on the left and masked there. */
  async prefill(jobs: readonly DecodeJob[]): Promise<Window[]> {
    const { beams, noSpeech } = this.#options;
    const count = Math.max(...jobs.map((job) => job.initial.length));
    const rows = jobs.length;
    const tokens = new BigInt64Array(rows * count);
    const positions = new BigInt64Array(rows * count);
    const selfBias = new Float32Array(rows * count * count);
    const select = new BigInt64Array(rows * 2);
    const vocabulary = this.#session.config.vocabularySize;
    const mask = new Float32Array(rows * vocabulary);
    jobs.forEach((job, r) => {
      const padding = count - job.initial.length;
      job.initial.forEach((token, i) => {
        tokens[r * count + padding + i] = BigInt(token);
        positions[r * count + padding + i] = BigInt(i);
      });
      for (let q = 0; q < count; q++) {
        const row = (r * count + q) * count;
        selfBias.fill(MASKED, row + q + 1, row + count);
        selfBias.fill(MASKED, row, row + Math.min(padding, q));
      }
      select.set([BigInt(padding + job.startIndex), BigInt(count - 1)], r * 2);
      mask.set(job.firstMask, r * vocabulary);
    });
    this.#self.reset(rows);
    const candidates = beams === 1 ? 1 : beams + 1;
    const input = { tokens, positions, count, selfBias, select, selected: 2, mask, candidates, withLogits: true };
    const output = await this.#session.step(input, this.#cross, this.#self);

    const windows = jobs.map((job, r): Window => {
      const logits = output.logits.subarray(2 * r * vocabulary, (2 * r + 2) * vocabulary);
      const window: Window = {
        job,
        index: r,
        padding: count - job.initial.length,
        prefill: output.alignment.subarray((r * output.alignment.length) / rows, ((r + 1) * output.alignment.length) / rows),
        noSpeechProbability: probabilityOf(noSpeech, logits.subarray(0, vocabulary)),
        rows: [],
        finished: [],
      };
      const row = 2 * r + 1;
      const choices = this.#choices(output, row, job, logits.subarray(vocabulary), job.firstMask);
      this.#choose(
        window,
        choices.map((choice) => ({ ...choice, parent: null, source: 0 })),
      );
      return window;
    });
    // Each hypothesis starts from its window's one row.
    if (beams > 1) this.#self.gather(windows.flatMap((window, w) => window.rows.map(() => w)));
    return windows;
  }

  /** Feeds each hypothesis its last token and replaces the hypotheses of each window by its likeliest continuations. */
  async step(windows: readonly Window[]): Promise<void> {
    const { beams } = this.#options;
    const { rows, length } = this.#self;
    const tokens = new BigInt64Array(rows);
    const positions = new BigInt64Array(rows);
    const selfBias = new Float32Array(rows * (length + 1));
    windows.forEach((window, w) => {
      window.rows.forEach((node, b) => {
        const row = w * beams + b;
        tokens[row] = BigInt(node.token);
        positions[row] = BigInt(window.job.initial.length + node.length - 1);
        selfBias.fill(MASKED, row * (length + 1), row * (length + 1) + window.padding);
      });
    });
    const candidates = beams === 1 ? 1 : beams + 1;
    const withLogits = windows.some(({ job }) => job.temperature > 0);
    const mask = (windows[0] as Window).job.mask;
    const select = new BigInt64Array(rows);
    const input = { tokens, positions, count: 1, selfBias, select, selected: 1, mask, candidates, withLogits };
    const output = await this.#session.step(input, this.#cross, this.#self);

    const vocabulary = this.#session.config.vocabularySize;
    const perWindow = output.alignment.length / windows.length;
    const sources: number[] = [];
    windows.forEach((window, w) => {
      const continuations = window.rows.flatMap((parent, b) => {
        parent.alignment = { data: output.alignment, offset: w * perWindow, queries: beams, query: b };
        const row = w * beams + b;
        const logits = output.logits.subarray(row * vocabulary, (row + 1) * vocabulary);
        return this.#choices(output, row, window.job, logits, window.job.mask).map((choice) => ({ ...choice, parent, source: b }));
      });
      for (const source of this.#choose(window, continuations)) sources.push(w * beams + source);
    });
    // A greedy row follows itself, and one that just ended has no source at all.
    if (beams > 1 && sources.some((source, row) => source !== row)) this.#self.gather(sources);
  }

  /** Removes the windows at `places` from the caches; returns those that stay, in the caches' order. */
  remove(windows: readonly Window[], places: readonly number[]): Window[] {
    if (places.length === 0) return [...windows];
    const { beams } = this.#options;
    const order = windows.map((_, w) => w);
    for (const place of [...places].reverse()) {
      this.#cross.remove(place);
      const last = order.pop() as number;
      if (place < order.length) order[place] = last;
    }
    this.#self.gather(order.flatMap((w) => Array.from({ length: beams }, (_, b) => w * beams + b)));
    return order.map((w) => windows[w] as Window);
  }

  #choices(
    output: StepOutput,
    row: number,
    job: DecodeJob,
    logits: Float32Array,
    mask: Float32Array,
  ): { token: number; logProbability: number }[] {
    if (job.temperature > 0) return [sample(logits, mask, job.temperature, this.#options.random())];
    const candidates = this.#options.beams === 1 ? 1 : this.#options.beams + 1;
    const choices: { token: number; logProbability: number }[] = [];
    for (let c = row * candidates; c < (row + 1) * candidates; c++) {
      choices.push({ token: Number(output.tokens[c]), logProbability: output.values[c] as number });
    }
    return choices;
  }

  /** Keeps the likeliest `beams` continuations and files those that end; returns which hypothesis each comes from. */
  #choose(window: Window, continuations: { token: number; logProbability: number; parent: Node | null; source: number }[]): number[] {
    const { beams, endOfText } = this.#options;
    const scored = continuations.map((c) => ({ ...c, sum: (c.parent?.sum ?? 0) + c.logProbability }));
    if (beams > 1) scored.sort((a, b) => b.sum - a.sum);
    const rows: Node[] = [];
    const sources: number[] = [];
    for (const { token, logProbability, parent, source, sum } of scored) {
      const length = (parent?.length ?? 0) + 1;
      if (token === endOfText) {
        window.finished.push({ node: parent, endLogProbability: logProbability, score: sum / length });
        continue;
      }
      rows.push({ token, logProbability, sum, length, parent, alignment: null });
      sources.push(source);
      if (rows.length === beams) break;
    }
    window.rows = rows;
    return sources;
  }
}

/** The likeliest finished hypothesis, or the likeliest of those that the limit cut. */
function best(window: Window, heads: number, cross: CrossCache): DecodedText {
  const ended = [...window.finished].sort((a, b) => b.score - a.score)[0];
  const node = ended ? ended.node : (window.rows[0] ?? null);
  const path: Node[] = [];
  for (let n = node; n; n = n.parent) path.unshift(n);
  const logProbabilities = path.map((n) => n.logProbability);
  if (ended) logProbabilities.push(ended.endLogProbability);
  return {
    tokens: path.map((n) => n.token),
    logProbabilities,
    ended: ended !== undefined,
    noSpeechProbability: window.noSpeechProbability,
    ...alignmentRows(window, path, heads, cross.positions),
  };
}

/** Gathers the alignment rows of the forced tokens and of a hypothesis into [heads, rows, positions]. */
function alignmentRows(
  window: Window,
  path: readonly Node[],
  heads: number,
  positions: number,
): Pick<DecodedText, 'alignment' | 'alignmentRows'> {
  const { job, padding, prefill } = window;
  const forced = job.initial.length - job.alignIndex;
  const fed = path.filter((node) => node.alignment !== null);
  const rows = forced + fed.length;
  const alignment = new Float32Array(heads * rows * positions);
  const queries = prefill.length / heads / positions;
  for (let h = 0; h < heads; h++) {
    const first = (h * queries + padding + job.alignIndex) * positions;
    alignment.set(prefill.subarray(first, first + forced * positions), h * rows * positions);
    fed.forEach((node, i) => {
      const { data, offset, queries: group, query } = node.alignment as NonNullable<Node['alignment']>;
      const start = offset + (h * group + query) * positions;
      alignment.set(data.subarray(start, start + positions), (h * rows + forced + i) * positions);
    });
  }
  return { alignment, alignmentRows: rows };
}

// What is decoded and what comes of it: a job for one encoded window, its hypotheses while it runs, and its text.

import { type AlignmentRow, type Candidates, extend, gatherAlignment, isLooping, type Node, pathTo } from './hypothesis.ts';

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
  /** First tokens of the text, from an earlier decode of this window: kept as they are. @default [] */
  readonly settled?: readonly SettledToken[];
  /** A guess at the tokens after those, for one beam at temperature 0: what greedy decoding agrees with is taken in the first pass. @default [] */
  readonly draft?: readonly number[];
  /** 0 <= random() < 1; only drawn from at temperatures above 0. */
  random(): number;
  /** Asked before each step; a cancelled job leaves the batch without a result. */
  cancelled(): boolean;
}

export interface SettledToken {
  readonly token: number;
  readonly logProbability: number;
}

export interface DecodedText {
  /** Without `<|endoftext|>`. */
  readonly tokens: readonly number[];
  /** Natural logarithms, one a token and one for the end, where it was reached. */
  readonly logProbabilities: readonly number[];
  /** False where the limit cut it, or a loop. */
  readonly ended: boolean;
  readonly noSpeechProbability: number;
  /** Scaled q · k of the alignment heads, [heads, rows, positions]: a row for the last start token, each forced and each decoded token. */
  readonly alignment: Float32Array;
  readonly alignmentRows: number;
  /** Which positions of the window the alignment has, ascending. */
  readonly positions: Int32Array;
}

/** A hypothesis that reached the end of text. */
interface Finished {
  /** Its last token; null for an empty text. */
  readonly node: Node | null;
  readonly endLogProbability: number;
  /** Mean log-probability. */
  readonly score: number;
}

export interface Continuation extends SettledToken {
  readonly parent: Node | null;
  /** Which of the window's rows it comes from. */
  readonly source: number;
}

export function continuationsOf({ tokens, values, offset, count }: Candidates, parent: Node | null, source: number): Continuation[] {
  return Array.from({ length: count }, (_, c) => ({
    token: Number(tokens[offset + c]),
    logProbability: values[offset + c] as number,
    parent,
    source,
  }));
}

/** A window that is being decoded. */
export class RunningWindow {
  readonly job: DecodeJob;
  readonly noSpeechProbability: number;
  /** Alignment rows of the forced tokens, from the last start token on. */
  readonly #forced: readonly AlignmentRow[];
  /** Hypotheses that are kept at most. */
  readonly beams: number;
  readonly #endOfText: number;
  /** What may follow the forced tokens; null where that is not known, as settled tokens follow, or the first is drawn. */
  first: Candidates | null = null;
  /** Hypotheses that go on, the likeliest first. */
  rows: Node[] = [];
  readonly #finished: Finished[] = [];
  /** Columns at the start of the window's rows in the cache that are not its own. */
  padding = 0;
  /** Tokens of the draft that were right. */
  acceptedTokens = 0;
  /** Passes after the first, the rows in all of them, and the window's share of their time. */
  steps = 0;
  rowsSum = 0;
  stepMs = 0;

  constructor(job: DecodeJob, noSpeechProbability: number, forced: readonly AlignmentRow[], options: { beams: number; endOfText: number }) {
    this.job = job;
    this.noSpeechProbability = noSpeechProbability;
    this.#forced = forced;
    this.beams = options.beams;
    this.#endOfText = options.endOfText;
  }

  get isFinished(): boolean {
    const [first] = this.rows;
    if (first === undefined || this.#finished.length >= this.beams || first.length >= this.job.limit) return true;
    // One hypothesis seldom gets out of it; of several, another may end.
    return this.beams === 1 && isLooping(first);
  }

  /** Keeps the likeliest continuations and files those that end; returns which row each of the new rows comes from. */
  choose(continuations: readonly Continuation[]): number[] {
    return this.take(this.beams > 1 ? [...continuations].sort((a, b) => sumOf(b) - sumOf(a)) : continuations);
  }

  /** The same where the likeliest come first already. */
  take(ranked: readonly Continuation[]): number[] {
    this.rows = [];
    const sources: number[] = [];
    for (const continuation of ranked) {
      const { logProbability, parent, source, token } = continuation;
      if (token === this.#endOfText) {
        const score = sumOf(continuation) / ((parent?.length ?? 0) + 1);
        this.#finished.push({ node: parent, endLogProbability: logProbability, score });
        continue;
      }
      this.rows.push(extend(parent, token, logProbability));
      sources.push(source);
      if (this.rows.length === this.beams) break;
    }
    return sources;
  }

  /**
   * The same window decoded again from behind the settled tokens of `job`, which are the first of its text, with more hypotheses.
   * Null where what may follow those is not known.
   */
  widened(job: DecodeJob, beams: number): RunningWindow | null {
    const { settled = [] } = job;
    const node = settled.length === 0 ? null : (this.#bestPath().path[settled.length - 1] ?? null);
    const next = node === null ? this.first : node.next;
    if (next === null) return null;
    const window = new RunningWindow(job, this.noSpeechProbability, this.#forced, { beams, endOfText: this.#endOfText });
    window.choose(continuationsOf(next, node, 0));
    return window;
  }

  #bestPath(): { path: Node[]; ended: Finished | undefined } {
    const ended = [...this.#finished].sort((a, b) => b.score - a.score)[0];
    return { path: pathTo(ended ? ended.node : (this.rows[0] ?? null)), ended };
  }

  /** The likeliest finished hypothesis, or the likeliest of those that were cut. */
  best(heads: number, positions: Int32Array): DecodedText {
    const { path, ended } = this.#bestPath();
    const logProbabilities = path.map((node) => node.logProbability);
    if (ended) logProbabilities.push(ended.endLogProbability);
    const fed = path.flatMap(({ alignment }) => (alignment === null ? [] : [alignment]));
    const rows = [...this.#forced, ...fed];
    return {
      tokens: path.map((node) => node.token),
      logProbabilities,
      ended: ended !== undefined,
      noSpeechProbability: this.noSpeechProbability,
      alignment: gatherAlignment(rows, heads, positions.length),
      alignmentRows: rows.length,
      positions,
    };
  }
}

const sumOf = ({ parent, logProbability }: Continuation): number => (parent?.sum ?? 0) + logProbability;

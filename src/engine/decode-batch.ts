// Windows that are decoded side by side: greedy, by beam search or by sampling. They join and leave between any two steps.

import { CrossCache, type RowSource, SelfCache } from './caches.ts';
import { type Continuation, continuationsOf, type DecodedText, type DecodeJob, type RunningWindow } from './decode.ts';
import { MASKED, type ModelSession } from './model-session.ts';
import type { WindowPositions } from './positions.ts';
import { candidatesFor, type PrefillOptions, prefill } from './prefill.ts';
import { sample } from './sampling.ts';

/**
 * Told of each window that is finished or cancelled, with its place; `read` gives the text, and is null for a cancelled one. No window moves
 * before the answer, so that a batch can adopt it meanwhile. Must not fail.
 */
export type OnFinish = (window: RunningWindow, place: number, read: (() => DecodedText) | null) => void | Promise<void>;

/**
 * Data flow: append a window to `cross`, encode into it, `join` it with its job, `step` until it is finished, `leave`. To be decoded once
 * more, a window that leaves is adopted.
 *
 * Invariants
 * - window w of `cross` belongs to windows[w], and its hypotheses are rows w * beams and following of the self cache;
 * - a row's columns are right-aligned: `padding` columns at its start are masked;
 * - a window's text does not depend on its company (but for the rounding of int8 kernels, which take one row otherwise than several).
 */
export class DecodeBatch {
  /** What the encoder left of each window; a window that is appended must be joined before anything else is done. */
  readonly cross: CrossCache;
  readonly #session: ModelSession;
  readonly #options: PrefillOptions;
  readonly #self: SelfCache;
  /** Where a window is prefilled before its row joins the others. */
  readonly #fresh: SelfCache;
  #windows: RunningWindow[] = [];

  constructor(session: ModelSession, options: PrefillOptions) {
    this.#session = session;
    this.#options = options;
    this.cross = new CrossCache(session.shape);
    this.#self = new SelfCache(session.shape);
    this.#fresh = new SelfCache(session.shape);
  }

  get windows(): readonly RunningWindow[] {
    return this.#windows;
  }

  /** Decodes the first token, or all that its draft foresaw, of the window that was appended last. */
  async join(job: DecodeJob): Promise<RunningWindow> {
    const { window, length } = await prefill(this.#session, this.cross.only(this.#windows.length), this.#fresh, job, this.#options);
    this.#add(window, { cache: this.#fresh, row: 0, from: 0, to: length });
    return window;
  }

  /**
   * Takes a copy of a window that is to leave `batch`, which may be this one, to decode it by another job. A search goes on behind the settled
   * tokens of a greedy text with what that decode has found and cached; everything else begins anew.
   */
  async adopt(batch: DecodeBatch, from: number, job: DecodeJob): Promise<RunningWindow> {
    const last = batch.#windows[from] as RunningWindow;
    const place = this.cross.append((batch.cross.chosen[from] as WindowPositions).indices.length);
    try {
      this.cross.copyFrom(place, batch.cross, from);
      const window = last.beams === 1 ? last.widened(job, this.#options.beams) : null;
      if (window === null) return await this.join(job);
      const to = last.padding + job.initial.length + (job.settled?.length ?? 0);
      this.#add(window, { cache: batch.#self, row: from, from: last.padding, to });
      return window;
    } catch (error) {
      this.cross.remove(place);
      throw error;
    }
  }

  /** The window that was appended last; its hypotheses all start from this row. */
  #add(window: RunningWindow, source: RowSource): void {
    const joining = Array.from({ length: this.#options.beams }, () => source);
    const rows = [...this.#windows.flatMap((_, w) => this.#rowsOf(w)), ...joining];
    this.#windows.push(window);
    try {
      this.#assemble(rows);
    } catch (error) {
      this.#windows.pop();
      throw error;
    }
  }

  /** Lets those leave that are finished or cancelled. */
  async leave(onFinish: OnFinish): Promise<void> {
    const heads = this.#session.config.alignmentHeads.length;
    const leaving: number[] = [];
    for (const [place, window] of [...this.#windows].entries()) {
      const cancelled = window.job.cancelled();
      if (!cancelled && !window.isFinished) continue;
      leaving.push(place);
      const read = (): DecodedText => window.best(heads, (this.cross.chosen[place] as WindowPositions).indices);
      await onFinish(window, place, cancelled ? null : read);
    }
    if (leaving.length > 0) this.#remove(leaving);
  }

  /** All of them, after a step that failed. */
  clear(): void {
    this.#windows = [];
    this.cross.reset(0, 0);
    this.#self.reset(0);
  }

  /** Feeds each hypothesis its last token and replaces the hypotheses of each window by its likeliest continuations. */
  async step(): Promise<void> {
    const startMs = performance.now();
    const { beams } = this.#options;
    const { rows, length } = this.#self;
    const windows = this.#windows;
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
    const withLogits = windows.some(({ job }) => job.temperature > 0);
    const { mask } = (windows[0] as RunningWindow).job;
    const { candidates = candidatesFor(beams) } = this.#options;
    const select = new BigInt64Array(rows);
    const input = { tokens, positions, count: 1, selfBias, select, selected: 1, mask, candidates, withLogits };
    const output = await this.#session.step(input, this.cross, this.#self);

    const vocabulary = this.#session.config.vocabularySize;
    const perWindow = output.alignment.length / windows.length;
    const stride = this.cross.positions;
    const sources: number[] = [];
    windows.forEach((window, w) => {
      const continuations = window.rows.flatMap((parent, b): Continuation[] => {
        parent.alignment = { data: output.alignment, offset: w * perWindow, queries: beams, query: b, stride };
        const row = w * beams + b;
        const { job } = window;
        if (job.temperature > 0) {
          const logits = output.logits.subarray(row * vocabulary, (row + 1) * vocabulary);
          return [{ ...sample(logits, job.mask, job.temperature, job.random()), parent, source: b }];
        }
        parent.next = { tokens: output.tokens, values: output.values, offset: row * candidates, count: candidates };
        return continuationsOf(parent.next, parent, b);
      });
      const chosen = window.choose(continuations);
      // A window that just finished keeps its rows until it leaves.
      for (let b = 0; b < beams; b++) sources.push(w * beams + (chosen[b] ?? b));
    });
    if (sources.some((source, row) => source !== row)) this.#self.gather(sources);
    const elapsedMs = performance.now() - startMs;
    for (const window of windows) {
      window.steps++;
      window.rowsSum += rows;
      window.stepMs += elapsedMs / windows.length;
    }
  }

  #remove(places: readonly number[]): void {
    const order = this.#windows.map((_, w) => w);
    for (const place of [...places].reverse()) {
      this.cross.remove(place);
      const last = order.pop() as number;
      if (place < order.length) order[place] = last;
    }
    const rows = order.flatMap((w) => this.#rowsOf(w));
    this.#windows = order.map((w) => this.#windows[w] as RunningWindow);
    this.#assemble(rows);
  }

  /** The rows of the window at `place`, without the padding. */
  #rowsOf(place: number): RowSource[] {
    const { beams } = this.#options;
    const { padding } = this.#windows[place] as RunningWindow;
    const to = this.#self.length;
    return Array.from({ length: beams }, (_, b) => ({ cache: this.#self, row: place * beams + b, from: padding, to }));
  }

  /** @param rows of all windows, in order */
  #assemble(rows: readonly RowSource[]): void {
    this.#self.assemble(rows);
    for (const [w, window] of this.#windows.entries()) {
      const { from, to } = rows[w * this.#options.beams] as RowSource;
      window.padding = this.#self.length - (to - from);
    }
  }
}

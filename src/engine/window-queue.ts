// Which window runs next and on which engine, and which has to go: the scheduling policy. Pure: it is told the time and what runs.

import type { Priority } from './transcriber.ts';

export interface WaitingWindow {
  readonly priority: Priority;
  /** Owners of partials take turns, and so do owners of files. */
  readonly owner: string;
  /** On any steady clock, the one that the queue is told. */
  readonly submittedSeconds: number;
}

export interface WindowQueueOptions {
  /** Most windows that wait or run. */
  readonly maxQueue: number;
  /** Most windows that one engine runs at a time. */
  readonly maxBatch: number;
  /** Partials go to engines with fewer windows of streams than this: they shall use what is idle, not slow down finals. @default 2 */
  readonly busyWithStreams?: number;
  /** Most windows of files that an engine runs while there are streams. One: on half of the engines only. @default 1 */
  readonly liveFiles?: number;
  /** Windows that have waited so long are given up: nobody has a use for an old partial. @default DEFAULT_MAX_WAIT_SECONDS */
  readonly maxWaitSeconds?: Readonly<Partial<Record<Priority, number>>> | undefined;
}

/** How many windows of each kind an engine runs. */
export type Running = Readonly<Record<Priority, number>>;

export const PRIORITIES: readonly Priority[] = ['final', 'partial', 'file'];
export const DEFAULT_MAX_WAIT_SECONDS: Readonly<Record<Priority, number>> = { final: 30, partial: 1.5, file: 300 };

/** There are streams while windows of theirs came within so many seconds. */
const LIVE_SECONDS = 10;
/** A file's window is longer than others, and holds its engine for longer. */
const WEIGHT_OF_FILE = 2;
/** A waiting file lets so many partials pass. */
const PARTIALS_PER_FILE = 3;
/** Owners whose last turn is remembered. */
const MAX_OWNERS = 4096;

/**
 * Invariants:
 * - Finals start oldest first, and nothing else starts while a final waits.
 * - While there are streams, files run on half of the engines at most, one window on each, or `liveFiles` on every one.
 * - Partials and files leave one place of every engine free (where it has more than one), so that a final that comes finds it.
 * - A file that waits and can be placed lets at most PARTIALS_PER_FILE partials pass.
 */
export class WindowQueue<T extends WaitingWindow> {
  readonly #maxQueue: number;
  readonly #maxBatch: number;
  readonly #maxWaitSeconds: Readonly<Record<Priority, number>>;
  readonly #busyWithStreams: number;
  readonly #liveFiles: number;
  /** Each oldest first. */
  readonly #waiting: Readonly<Record<Priority, T[]>> = { final: [], partial: [], file: [] };
  readonly #turns = { partial: new Turns(), file: new Turns() };
  /** When the last window of a stream came. */
  #lastStreamSeconds = Number.NEGATIVE_INFINITY;
  /** Partials that have passed files that waited. */
  #passed = 0;

  constructor({ busyWithStreams = 2, liveFiles = 1, maxBatch, maxQueue, maxWaitSeconds }: WindowQueueOptions) {
    this.#maxQueue = maxQueue;
    this.#maxBatch = maxBatch;
    this.#busyWithStreams = busyWithStreams;
    this.#liveFiles = liveFiles;
    this.#maxWaitSeconds = { ...DEFAULT_MAX_WAIT_SECONDS, ...maxWaitSeconds };
  }

  /** Windows that wait. */
  get size(): number {
    return PRIORITIES.reduce((sum, priority) => sum + this.#waiting[priority].length, 0);
  }

  /**
   * @param runningCount windows that run
   * @returns what is refused: nothing, the new window itself, or the one whose place it took
   */
  add(window: T, runningCount: number): T | null {
    if (window.priority !== 'file') this.#lastStreamSeconds = window.submittedSeconds;
    let displaced: T | null = null;
    if (this.size + runningCount >= this.#maxQueue) {
      displaced = window.priority === 'final' ? this.#youngestOfOthers() : null;
      if (displaced === null) return window;
      this.remove(displaced);
    }
    this.#waiting[window.priority].push(window);
    return displaced;
  }

  /** Takes the window that starts next from the queue and says on which engine; null: none can start. */
  next(engines: readonly Running[], nowSeconds: number): { readonly window: T; readonly engine: number } | null {
    const isLive = nowSeconds < this.#lastStreamSeconds + LIVE_SECONDS;
    for (const priority of this.#order()) {
      const waiting = this.#waiting[priority];
      const mayStart = priority !== 'file' || !isLive || this.#hasRoomForFile(engines);
      const engine = mayStart ? this.#leastBusy(priority, engines, isLive) : null;
      if (waiting.length === 0 || engine === null) continue;
      const window = priority === 'final' ? (waiting[0] as T) : this.#turns[priority].first(waiting);
      this.remove(window);
      this.#noteTurn(window);
      return { window, engine };
    }
    return null;
  }

  /** Takes out what has waited too long. */
  expire(nowSeconds: number): T[] {
    const expired = PRIORITIES.flatMap((priority) =>
      this.#waiting[priority].filter((window) => nowSeconds >= window.submittedSeconds + this.#maxWaitSeconds[priority]),
    );
    for (const window of expired) this.remove(window);
    return expired;
  }

  /** When the next window will have waited too long; null where none waits. */
  nextExpirySeconds(): number | null {
    const times = PRIORITIES.flatMap((priority) => {
      const oldest = this.#waiting[priority][0];
      return oldest ? [oldest.submittedSeconds + this.#maxWaitSeconds[priority]] : [];
    });
    return times.length === 0 ? null : Math.min(...times);
  }

  /** False: it does not wait here. */
  remove(window: T): boolean {
    const waiting = this.#waiting[window.priority];
    const at = waiting.indexOf(window);
    if (at === -1) return false;
    waiting.splice(at, 1);
    return true;
  }

  /** Takes out all. */
  clear(): T[] {
    return PRIORITIES.flatMap((priority) => this.#waiting[priority].splice(0));
  }

  /** How long the final that waits longest has waited; 0 where none waits. */
  oldestFinalSeconds(nowSeconds: number): number {
    const oldest = this.#waiting.final[0];
    return oldest ? nowSeconds - oldest.submittedSeconds : 0;
  }

  #order(): readonly Priority[] {
    return this.#passed >= PARTIALS_PER_FILE ? ['final', 'file', 'partial'] : PRIORITIES;
  }

  #noteTurn(window: T): void {
    if (window.priority === 'final') return;
    this.#turns[window.priority].note(window.owner);
    if (window.priority === 'file') this.#passed = 0;
    else if (this.#waiting.file.length > 0) this.#passed++;
  }

  #hasRoomForFile(engines: readonly Running[]): boolean {
    return this.#liveFiles > 1 || engines.filter(({ file }) => file > 0).length < Math.max(1, engines.length >> 1);
  }

  #leastBusy(priority: Priority, engines: readonly Running[], isLive: boolean): number | null {
    let best: number | null = null;
    let least = Number.POSITIVE_INFINITY;
    for (const [engine, running] of engines.entries()) {
      const weight = running.final + running.partial + WEIGHT_OF_FILE * running.file;
      if (weight >= least || !this.#hasPlace(priority, running, isLive)) continue;
      best = engine;
      least = weight;
    }
    return best;
  }

  #hasPlace(priority: Priority, running: Running, isLive: boolean): boolean {
    if (total(running) >= this.#maxBatch) return false;
    if (priority === 'final') return true;
    if (running.partial + running.file >= Math.max(1, this.#maxBatch - 1)) return false;
    // Files do not count: they hold their places for as long as there is more of them, and would shut partials out.
    if (priority === 'partial') return running.final + running.partial < this.#busyWithStreams;
    // Windows on one engine share its time: beside three of files a final takes several times as long.
    return !isLive || running.file < this.#liveFiles;
  }

  #youngestOfOthers(): T | null {
    const partial = this.#waiting.partial.at(-1);
    const file = this.#waiting.file.at(-1);
    if (partial === undefined || file === undefined) return partial ?? file ?? null;
    return partial.submittedSeconds >= file.submittedSeconds ? partial : file;
  }
}

const total = ({ final, partial, file }: Running): number => final + partial + file;

/** Whose turn it is: the owner's who was served longest ago. */
class Turns {
  /** Number of each owner's last turn, in that order. */
  readonly #last = new Map<string, number>();
  #count = 0;

  /** @param waiting not empty, oldest first: what comes first wins where no owner was served yet */
  first<T extends WaitingWindow>(waiting: readonly T[]): T {
    const lastTurn = ({ owner }: T): number => this.#last.get(owner) ?? -1;
    return waiting.reduce((best, window) => (lastTurn(window) < lastTurn(best) ? window : best));
  }

  note(owner: string): void {
    this.#last.delete(owner);
    this.#last.set(owner, this.#count++);
    if (this.#last.size <= MAX_OWNERS) return;
    // Who was not served for so long comes first anyway, known or not.
    for (const oldest of this.#last.keys()) {
      this.#last.delete(oldest);
      return;
    }
  }
}

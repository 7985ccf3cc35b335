// Measures how busy the engines are and how long finals take. Pure: it is told what happened and when.

import type { WindowCost } from './engine-messages.ts';
import type { Priority, TranscriberLoad } from './transcriber.ts';

/** What is looked back at. */
const SPAN_SECONDS = 10;
/** The first seconds after the start say little about a share: it is taken over at least so many. */
const LEAST_SPAN_SECONDS = 2;
/** Windows of one kind whose mean time is told. */
const MEAN_COUNT = 32;
/** What a partial takes of a final's time, until one was measured: its window is as long, its text half as long. */
const PARTIAL_OF_FINAL = 0.5;
/** Of delays, so many may be longer than the one that is told. */
const LONGER_SHARE = 0.05;

interface Work {
  readonly atSeconds: number;
  readonly priority: Priority;
  readonly engineSeconds: number;
}

interface Delay {
  readonly atSeconds: number;
  readonly seconds: number;
}

export const engineSeconds = ({ decodeMs, encodeMs }: WindowCost): number => (encodeMs + decodeMs) / 1000;

export class LoadMeter {
  readonly #engines: number;
  readonly #warmUpSeconds: number;
  #firstSeconds: number | null = null;
  /** Each oldest first, of the last SPAN_SECONDS. */
  readonly #work: Work[] = [];
  readonly #delays: Delay[] = [];
  /** Engine seconds of the last windows. */
  readonly #last: Readonly<Record<Priority, number[]>> = { final: [], partial: [], file: [] };

  /** @param warmUpSeconds engine time of one final, as measured before the first */
  constructor(engines: number, warmUpSeconds: number) {
    this.#engines = engines;
    this.#warmUpSeconds = warmUpSeconds;
  }

  /** An engine begins with a window. */
  started(nowSeconds: number): void {
    this.#firstSeconds ??= nowSeconds;
  }

  /** @param delaySeconds from submission to the result */
  finished(priority: Priority, cost: WindowCost, delaySeconds: number, nowSeconds: number): void {
    const seconds = engineSeconds(cost);
    this.#addWork(priority, seconds, nowSeconds);
    const last = this.#last[priority];
    last.push(seconds);
    if (last.length > MEAN_COUNT) last.shift();
    if (priority === 'final') this.#addDelay(delaySeconds, nowSeconds);
  }

  /** A window was given up while it ran: what it took is not known, and hardly more than others took or than it was there for. */
  abandoned(priority: Priority, ranSeconds: number, nowSeconds: number): void {
    this.#addWork(priority, Math.min(ranSeconds, this.#meanSeconds(priority)), nowSeconds);
  }

  /** A window was refused after it had waited; a final's wait is a delay, or delays would look short when they are longest. */
  refused(priority: Priority, waitedSeconds: number, nowSeconds: number): void {
    if (priority === 'final' && waitedSeconds > 0) this.#addDelay(waitedSeconds, nowSeconds);
  }

  load(nowSeconds: number, oldestFinalSeconds: number): TranscriberLoad {
    this.#forget(nowSeconds);
    const elapsed = this.#firstSeconds === null ? 0 : nowSeconds - this.#firstSeconds;
    const available = this.#engines * Math.min(SPAN_SECONDS, Math.max(LEAST_SPAN_SECONDS, elapsed));
    const spent = { final: 0, partial: 0, file: 0 };
    for (const work of this.#work) spent[work.priority] += work.engineSeconds;
    return {
      engines: this.#engines,
      finalShare: Math.min(1, spent.final / available),
      partialShare: Math.min(1, spent.partial / available),
      fileShare: Math.min(1, spent.file / available),
      callers: 1,
      finalShareOfOthers: 0,
      finalSeconds: this.#meanSeconds('final'),
      partialSeconds: this.#meanSeconds('partial'),
      oldestFinalSeconds,
      finalDelaySeconds: longDelay(this.#delays.map(({ seconds }) => seconds)),
      silentSeconds: 0,
    };
  }

  #addWork(priority: Priority, seconds: number, atSeconds: number): void {
    this.#firstSeconds ??= atSeconds;
    this.#work.push({ atSeconds, priority, engineSeconds: seconds });
    this.#forget(atSeconds);
  }

  #addDelay(seconds: number, atSeconds: number): void {
    this.#delays.push({ atSeconds, seconds });
    this.#forget(atSeconds);
  }

  #forget(nowSeconds: number): void {
    for (const events of [this.#work, this.#delays]) {
      const kept = events.findIndex(({ atSeconds }) => atSeconds > nowSeconds - SPAN_SECONDS);
      events.splice(0, kept === -1 ? events.length : kept);
    }
  }

  #meanSeconds(priority: Priority): number {
    const last = this.#last[priority];
    if (last.length > 0) return last.reduce((sum, seconds) => sum + seconds, 0) / last.length;
    return priority === 'partial' ? PARTIAL_OF_FINAL * this.#meanSeconds('final') : this.#warmUpSeconds;
  }
}

/**
 * The 95th percentile, but of 2 to 19 the second longest: one window may be slow by itself, decoded again and again, and says nothing of
 * the others. 0 of none.
 */
export function longDelay(values: number[]): number {
  values.sort((a, b) => b - a);
  return values[longerCount(values.length)] ?? 0;
}

/** How many of so many delays are longer than the one that is told. */
export const longerCount = (total: number): number => Math.min(total - 1, Math.max(1, Math.floor(LONGER_SHARE * total)));

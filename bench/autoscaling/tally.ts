// What is counted of a simulated day: by the minutes, for the plot, and in all.

import { WordLatency } from './word-latency.ts';

export const INTERVAL_SECONDS = 300;

/** The state at the end of a second. */
export interface Moment {
  readonly streams: number;
  /** Share of the engines' time that finals took. */
  readonly finalShare: number;
  readonly recognisers: number;
  readonly servers: number;
  readonly asrNodes: number;
  readonly serverNodes: number;
}

/** Means of some minutes, and what happened in them. */
export interface Interval extends Moment {
  readonly atHour: number;
  readonly arrived: number;
  readonly refused: number;
  /** Null where nobody spoke. */
  readonly wordFinalSeconds: { readonly p50: number | null; readonly p95: number | null };
}

export interface DaySummary {
  readonly arrived: number;
  readonly refused: number;
  /** Streams that went on to their end. */
  readonly served: number;
  /** Streams of a server that was scaled down, which connected again and found no room. */
  readonly cut: number;
  readonly stillOpen: number;
  /** Times that a stream had to go to another server. */
  readonly moved: number;
  readonly windows: number;
  readonly peakStreams: number;
  readonly streamHours: number;
  readonly recogniserHours: number;
  readonly serverHours: number;
  readonly asrNodeHours: number;
  readonly serverNodeHours: number;
  readonly wordFinalSeconds: Readonly<Record<'p50' | 'p95' | 'p99', number | null>>;
}

const NO_MOMENT: Moment = { streams: 0, finalShare: 0, recognisers: 0, servers: 0, asrNodes: 0, serverNodes: 0 };

export class Tally {
  arrived = 0;
  refused = 0;
  served = 0;
  cut = 0;
  moved = 0;
  #peakStreams = 0;
  readonly #allWords = new WordLatency();
  #allSeconds = NO_MOMENT;
  #words = new WordLatency();
  #seconds = NO_MOMENT;
  #before = { seconds: 0, arrived: 0, refused: 0 };

  /** @param delaySeconds from when a window's audio was there to its result */
  windowDone(delaySeconds: number): void {
    this.#words.add(delaySeconds);
  }

  secondDone(moment: Moment): void {
    this.#seconds = added(this.#seconds, moment);
    this.#peakStreams = Math.max(this.#peakStreams, moment.streams);
  }

  /** Ends an interval and begins the next. @param second of the simulation */
  interval(second: number): Interval {
    const { arrived, refused, seconds: from } = this.#before;
    const interval = {
      atHour: Number((from / 3600).toFixed(4)),
      arrived: this.arrived - arrived,
      refused: this.refused - refused,
      ...mapped(this.#seconds, (sum) => Number((sum / (second - from)).toFixed(3))),
      wordFinalSeconds: { p50: this.#words.quantile(0.5), p95: this.#words.quantile(0.95) },
    };
    this.#allWords.addAll(this.#words);
    this.#words = new WordLatency();
    this.#allSeconds = added(this.#allSeconds, this.#seconds);
    this.#seconds = NO_MOMENT;
    this.#before = { seconds: second, arrived: this.arrived, refused: this.refused };
    return interval;
  }

  /** Of the intervals that have ended. */
  summary(rest: Pick<DaySummary, 'asrNodeHours' | 'serverNodeHours' | 'stillOpen'>): DaySummary {
    const { arrived, cut, moved, refused, served } = this;
    const hours = mapped(this.#allSeconds, (sum) => Number((sum / 3600).toFixed(2)));
    const words = this.#allWords;
    return {
      arrived,
      refused,
      served,
      cut,
      stillOpen: rest.stillOpen,
      asrNodeHours: Number(rest.asrNodeHours.toFixed(2)),
      serverNodeHours: Number(rest.serverNodeHours.toFixed(2)),
      moved,
      windows: words.windows,
      peakStreams: this.#peakStreams,
      streamHours: hours.streams,
      recogniserHours: hours.recognisers,
      serverHours: hours.servers,
      wordFinalSeconds: { p50: words.quantile(0.5), p95: words.quantile(0.95), p99: words.quantile(0.99) },
    };
  }
}

function mapped(moment: Moment, change: (value: number, name: keyof Moment) => number): Moment {
  const names = Object.keys(NO_MOMENT) as (keyof Moment)[];
  return Object.fromEntries(names.map((name) => [name, change(moment[name], name)])) as unknown as Moment;
}

const added = (one: Moment, other: Moment): Moment => mapped(one, (value, name) => value + other[name]);

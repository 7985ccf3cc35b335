// What Serve and the service measure of the simulated load, second by second: requests under way, shares of the engines' time, delays.

import { longerCount } from '../../src/engine/load-meter.ts';

/** Seconds that are remembered, and seconds ahead of now that may be written to: work that has begun will end at a known time. */
const SPAN_SECONDS = 512;
const AHEAD_SECONDS = 384;
/** As LoadMeter and RemoteLoad measure (src/engine). */
const LOAD_SECONDS = 10;

/** A number for each second, of which old ones are forgotten. */
export class SecondRing {
  readonly #values = new Float64Array(SPAN_SECONDS);

  add(second: number, amount: number): void {
    this.#values[second % SPAN_SECONDS]! += amount;
  }

  /** Of the seconds before `second`. */
  sumBefore(second: number, count: number): number {
    let sum = 0;
    for (let at = Math.max(0, second - count); at < second; at++) sum += this.#values[at % SPAN_SECONDS]!;
    return sum;
  }

  /** To be called with each second that begins: makes room for the last one that may be written to. */
  begin(second: number): void {
    this.#values[(second + AHEAD_SECONDS) % SPAN_SECONDS] = 0;
  }
}

/** How many requests were under way, as the controller of Serve is told it. */
export class OngoingMeter {
  readonly #seconds = new SecondRing();

  begin(second: number): void {
    this.#seconds.begin(second);
  }

  /** A request is under way from now until then. */
  addSpan(fromSeconds: number, untilSeconds: number): void {
    const last = Math.min(untilSeconds, fromSeconds + AHEAD_SECONDS - 1);
    for (let from = fromSeconds; from < last; ) {
      const second = Math.floor(from);
      const until = Math.min(last, second + 1);
      this.#seconds.add(second, until - from);
      from = until;
    }
  }

  /** So many requests were under way during a second. */
  addDuring(second: number, requests: number): void {
    this.#seconds.add(second, requests);
  }

  /** The mean over the look-back, as of the last report. */
  mean(second: number, lookBackSeconds: number, intervalSeconds: number): number {
    const reported = Math.floor(Math.floor(second / intervalSeconds) * intervalSeconds);
    const span = Math.min(reported, Math.ceil(lookBackSeconds));
    return span === 0 ? 0 : this.#seconds.sumBefore(reported, span) / span;
  }
}

/** Delays in steps of a fifth, from 10 ms to 10 minutes. */
const SHORTEST_DELAY_SECONDS = 0.01;
const DELAY_STEP = Math.log(1.2);
const DELAY_BINS = 61;

/** Finals that are done: what they took of the engines' time, and how long after their submission. */
export class FinalMeter {
  readonly #work = new SecondRing();
  readonly #delays = Array.from({ length: DELAY_BINS }, () => new SecondRing());

  begin(second: number): void {
    this.#work.begin(second);
    for (const bin of this.#delays) bin.begin(second);
  }

  add(doneSeconds: number, engineSeconds: number, delaySeconds: number): void {
    const second = Math.floor(doneSeconds);
    this.#work.add(second, engineSeconds);
    const bin = Math.ceil(Math.log(Math.max(delaySeconds, SHORTEST_DELAY_SECONDS) / SHORTEST_DELAY_SECONDS) / DELAY_STEP);
    this.#delays[Math.min(DELAY_BINS - 1, bin)]!.add(second, 1);
  }

  /** Share of the engines' time of the last 10 s. */
  share(second: number, engines: number): number {
    return Math.min(1, this.#work.sumBefore(second, LOAD_SECONDS) / (engines * LOAD_SECONDS));
  }

  /** The 95th percentile of the last 10 s, of 2 to 19 the second longest, rounded up to a step; 0 where nothing was done. */
  delaySeconds(second: number): number {
    const counts = this.#delays.map((bin) => bin.sumBefore(second, LOAD_SECONDS));
    const total = counts.reduce((sum, count) => sum + count, 0);
    if (total === 0) return 0;
    const longer = longerCount(total);
    let bin = DELAY_BINS - 1;
    for (let sum = counts[bin]!; sum <= longer; ) sum += counts[--bin]!;
    return SHORTEST_DELAY_SECONDS * Math.exp(bin * DELAY_STEP);
  }
}

// What the replicas behind a remote transcriber say of their load, put together. No timers, no I/O; the caller brings the clock.

import type { AsrReplica } from './asr-protocol.ts';
import { longDelay } from './load-meter.ts';
import type { TranscriberLoad } from './transcriber.ts';

/** A replica that said nothing for so long is taken to be gone: there are fewer, or it is one of very many. */
const FORGET_SECONDS = 15;
/** As LoadMeter measures. */
const SPAN_SECONDS = 10;

interface Heard {
  readonly load: TranscriberLoad;
  readonly callers: number;
  readonly atSeconds: number;
}

export class RemoteLoad {
  readonly #replicas = new Map<string, Heard>();
  #last: Heard;
  /** Our own finals of the last SPAN_SECONDS, oldest first. */
  readonly #finals: { readonly atSeconds: number; readonly delaySeconds: number }[] = [];

  constructor(first: AsrReplica, nowSeconds: number) {
    this.#last = { load: first.load, callers: first.callers, atSeconds: nowSeconds };
    this.heard(first, nowSeconds);
  }

  heard({ callers, load, replica }: AsrReplica, nowSeconds: number): void {
    this.#last = { load, callers, atSeconds: nowSeconds };
    this.#replicas.set(replica, this.#last);
  }

  /** One of our finals is done. @param delaySeconds from submission to the result, all hops and repetitions included */
  finalDone(delaySeconds: number, nowSeconds: number): void {
    this.#finals.push({ atSeconds: nowSeconds, delaySeconds });
    this.#forget(nowSeconds);
  }

  /** Replicas heard of lately. */
  replicaCount(nowSeconds: number): number {
    this.#forget(nowSeconds);
    return this.#replicas.size;
  }

  /** @param oldestFinalSeconds how long the oldest of our own finals that is out has been out; 0 where none is */
  load(nowSeconds: number, oldestFinalSeconds: number): TranscriberLoad {
    this.#forget(nowSeconds);
    const replicas = [...this.#replicas.values()];
    const loads = replicas.map(({ load }) => load);
    const silentSeconds = nowSeconds - this.#last.atSeconds;
    // Nobody answers: who has streams must see that work waits.
    if (loads.length === 0) return { ...this.#last.load, oldestFinalSeconds: silentSeconds, silentSeconds };
    const engines = loads.reduce((sum, load) => sum + load.engines, 0);
    const mean = (value: (load: TranscriberLoad) => number): number =>
      loads.reduce((sum, load) => sum + value(load) * load.engines, 0) / engines;
    const delays = this.#finals.map(({ delaySeconds }) => delaySeconds);
    const finalShare = mean((load) => load.finalShare);
    const finalSeconds = mean((load) => load.finalSeconds);
    const ownShare = (this.#finals.length * finalSeconds) / (engines * SPAN_SECONDS);
    return {
      engines,
      finalShare,
      partialShare: mean((load) => load.partialShare),
      fileShare: mean((load) => load.fileShare),
      // A replica hears of everybody within some questions for its load; the one that has heard of most is right.
      callers: Math.max(1, ...replicas.map(({ callers }) => callers)),
      finalShareOfOthers: Math.max(0, finalShare - ownShare),
      finalSeconds,
      partialSeconds: mean((load) => load.partialSeconds),
      oldestFinalSeconds: Math.max(...loads.map((load) => load.oldestFinalSeconds)),
      // One that is out already for longer than others took will take longer than they did.
      finalDelaySeconds: Math.max(oldestFinalSeconds, longDelay(delays)),
      silentSeconds,
    };
  }

  #forget(nowSeconds: number): void {
    for (const [replica, { atSeconds }] of this.#replicas) {
      if (atSeconds <= nowSeconds - FORGET_SECONDS) this.#replicas.delete(replica);
    }
    while ((this.#finals[0]?.atSeconds ?? nowSeconds) <= nowSeconds - SPAN_SECONDS) this.#finals.shift();
  }
}

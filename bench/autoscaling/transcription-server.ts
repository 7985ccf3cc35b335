// A TranscriptionServer replica as far as load goes: its streams, and the service's own admission that lets them in.

import type { TranscriberLoad } from '../../src/engine/transcriber.ts';
import { Admission } from '../../src/server/admission.ts';
import { partialIntervalSeconds } from '../../src/streaming/pacer.ts';
import { SecondRing } from './meters.ts';

/** As RemoteLoad measures (src/engine/remote-load.ts). */
const LOAD_SECONDS = 10;

/** What all recognisers together say of themselves. */
export type ClusterLoad = Omit<TranscriberLoad, 'fileShare' | 'finalShareOfOthers' | 'silentSeconds'>;

export class TranscriptionServer {
  /** Numbers of the open streams. */
  readonly streams = new Set<number>();
  readonly #admission: Admission;
  readonly #finalsDone = new SecondRing();

  /** @param now seconds of the simulation's clock */
  constructor(now: () => number) {
    this.#admission = new Admission(() => now() * 1000);
  }

  begin(second: number): void {
    this.#finalsDone.begin(second);
  }

  finalDone(atSeconds: number): void {
    this.#finalsDone.add(Math.floor(atSeconds), 1);
  }

  /** Whether one more stream finds room; remembers what it said. */
  admits(load: ClusterLoad, second: number): boolean {
    return this.#admission.assess(this.#seenFromHere(load, second)).isAdmitting;
  }

  /** @returns what to call when the stream is over */
  open(stream: number): () => void {
    const leave = this.#admission.enter();
    this.streams.add(stream);
    return () => {
      leave();
      this.streams.delete(stream);
    };
  }

  /** Partials a second that its streams ask for. @param share of the streams that show them */
  partialsPerSecond(load: ClusterLoad, share: number): number {
    const sessions = share * this.streams.size;
    if (sessions === 0) return 0;
    return sessions / partialIntervalSeconds({ ...load, fileShare: 0, finalShareOfOthers: 0, silentSeconds: 0 }, sessions);
  }

  #seenFromHere(load: ClusterLoad, second: number): TranscriberLoad {
    const ownShare = (this.#finalsDone.sumBefore(second, LOAD_SECONDS) * load.finalSeconds) / (load.engines * LOAD_SECONDS);
    return { ...load, fileShare: 0, finalShareOfOthers: Math.max(0, load.finalShare - ownShare), silentSeconds: 0 };
  }
}

// Watches a server's resident memory: now, at a moment of the past, and its peak.

import type { ServerProcess } from '../test/server-process.ts';

const PERIOD_MS = 500;

export interface ResidentHistory {
  readonly peakMB: number;
  /** Memory at so many seconds after the start of the watch. */
  readonly at: (seconds: number) => number;
}

export class ResidentSampler {
  readonly #server: ServerProcess;
  readonly #samples: number[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(server: ServerProcess) {
    this.#server = server;
    this.#samples.push(this.nowMB());
    this.#timer = setInterval(() => {
      if (server.alive) this.#samples.push(this.nowMB());
    }, PERIOD_MS);
  }

  nowMB(): number {
    return this.#server.usage().residentBytes / 2 ** 20;
  }

  stop(): ResidentHistory {
    clearInterval(this.#timer);
    const samples = [...this.#samples, this.nowMB()];
    return {
      peakMB: Math.max(...samples),
      at: (seconds) => samples[Math.min(samples.length - 1, Math.round((seconds * 1000) / PERIOD_MS))]!,
    };
  }
}

// A deployment of Serve's in the simulation: its autoscaler, its replicas from order to end, and the machines they run on.

import { Autoscaler, type AutoscalingConfig } from './autoscaler.ts';
import type { NodePool, Placed } from './nodes.ts';

export interface Replica<Work> {
  readonly work: Work;
  readonly placed: Placed;
}

export class Deployment<Work> {
  readonly #autoscaler: Autoscaler;
  readonly #nodes: NodePool;
  readonly #create: () => Work;
  #starting: Placed[] = [];
  readonly #running: Replica<Work>[] = [];

  /** Begins with the least number of replicas, in service. @param create what a replica works with */
  constructor(config: AutoscalingConfig, nodes: NodePool, create: () => Work) {
    this.#autoscaler = new Autoscaler(config);
    this.#nodes = nodes;
    this.#create = create;
    for (let count = 0; count < config.minReplicas; count++) this.#running.push({ work: create(), placed: nodes.place(0, true) });
  }

  get target(): number {
    return this.#autoscaler.target;
  }

  /** Those that take work: one at least. */
  get running(): readonly Replica<Work>[] {
    return this.#running;
  }

  /**
   * One round of Serve's control loop.
   * @param ongoing requests in all replicas, the mean over the look-back
   * @returns replicas that take no more work; each still has its place, which whoever takes them gives back
   */
  update(ongoing: number, nowSeconds: number): readonly Replica<Work>[] {
    for (const placed of this.#starting) if (placed.readySeconds <= nowSeconds) this.#running.push({ work: this.#create(), placed });
    this.#starting = this.#starting.filter(({ readySeconds }) => readySeconds > nowSeconds);
    const target = this.#autoscaler.decide(ongoing, this.#running.length, nowSeconds);
    while (this.#running.length + this.#starting.length < target) this.#starting.push(this.#nodes.place(nowSeconds));
    const stopped: Replica<Work>[] = [];
    while (this.#running.length + this.#starting.length > target) {
      const starting = this.#starting.pop();
      if (starting === undefined) stopped.push(this.#takeOut());
      else starting.leave(nowSeconds);
    }
    this.#nodes.release(nowSeconds);
    return stopped;
  }

  /** The replica with the fewest neighbours, so that machines come free. */
  #takeOut(): Replica<Work> {
    let least = 0;
    for (let at = 1; at < this.#running.length; at++) {
      if (this.#running[at]!.placed.neighbours() < this.#running[least]!.placed.neighbours()) least = at;
    }
    return this.#running.splice(least, 1)[0]!;
  }
}

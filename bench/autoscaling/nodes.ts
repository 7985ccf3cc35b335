// Machines for the replicas of one deployment: ordered when there is no room, given back when they have been empty for a while.

import type { Random } from './random.ts';

export interface NodeOptions {
  readonly replicasPerNode: number;
  /** From the order until replicas can start there: the machine, its kubelet, the image. Least and most. */
  readonly nodeStartSeconds: readonly [number, number];
  /** From then until a replica serves: its processes, the model. Least and most. */
  readonly replicaStartSeconds: readonly [number, number];
  /** An empty machine is given back after so long. */
  readonly idleSeconds: number;
}

interface Node {
  readonly orderedSeconds: number;
  readonly readySeconds: number;
  replicas: number;
  emptySinceSeconds: number;
}

/** A replica that has a place; it serves from readySeconds on. */
export interface Placed {
  readonly readySeconds: number;
  /** Gives its place back. Idempotent. */
  leave(nowSeconds: number): void;
  /** Replicas on its machine: Serve stops those first that have the fewest beside them. */
  neighbours(): number;
}

export class NodePool {
  readonly #options: NodeOptions;
  readonly #random: Random;
  readonly #nodes = new Set<Node>();
  #paidSeconds = 0;

  constructor(options: NodeOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  /** Machines that are there or on their way. */
  get count(): number {
    return this.#nodes.size;
  }

  /** A place for one more replica, on the machine with the most room as Serve spreads them, or on a new one. @param isThere nothing has to start */
  place(nowSeconds: number, isThere = false): Placed {
    const { replicaStartSeconds, replicasPerNode } = this.#options;
    let best: Node | null = null;
    for (const node of this.#nodes) {
      if (node.replicas < replicasPerNode && (best === null || node.replicas < best.replicas)) best = node;
    }
    const node = best ?? this.#order(nowSeconds, isThere);
    node.replicas++;
    let isIn = true;
    return {
      readySeconds: isThere ? nowSeconds : Math.max(nowSeconds, node.readySeconds) + this.#random.between(...replicaStartSeconds),
      neighbours: () => node.replicas,
      leave: (atSeconds) => {
        if (!isIn) return;
        isIn = false;
        node.replicas--;
        node.emptySinceSeconds = atSeconds;
      },
    };
  }

  /** Gives empty machines back; to be called now and then. */
  release(nowSeconds: number): void {
    for (const node of this.#nodes) {
      if (node.replicas > 0 || nowSeconds - Math.max(node.emptySinceSeconds, node.readySeconds) < this.#options.idleSeconds) continue;
      this.#nodes.delete(node);
      this.#paidSeconds += nowSeconds - node.orderedSeconds;
    }
  }

  /** What is paid for until now: from each order to its return. */
  paidHours(nowSeconds: number): number {
    let seconds = this.#paidSeconds;
    for (const node of this.#nodes) seconds += nowSeconds - node.orderedSeconds;
    return seconds / 3600;
  }

  #order(nowSeconds: number, isThere: boolean): Node {
    const readySeconds = nowSeconds + (isThere ? 0 : this.#random.between(...this.#options.nodeStartSeconds));
    const node: Node = { orderedSeconds: nowSeconds, readySeconds, replicas: 0, emptySinceSeconds: nowSeconds };
    this.#nodes.add(node);
    return node;
  }
}

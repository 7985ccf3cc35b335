// Decoded tokens with their history. The hypotheses of a window share the nodes of their common beginning.

/** Where the alignment row of a token lies, in an output [heads, queries, stride]. */
export interface AlignmentRow {
  readonly data: Float32Array;
  readonly offset: number;
  readonly queries: number;
  readonly query: number;
  readonly stride: number;
}

/** What may follow a token, the likeliest first: `count` values from `offset` on. */
export interface Candidates {
  readonly tokens: BigInt64Array;
  readonly values: Float32Array;
  readonly offset: number;
  readonly count: number;
}

export interface Node {
  readonly token: number;
  readonly logProbability: number;
  /** Log-probability of the text up to here. */
  readonly sum: number;
  /** Tokens up to here. */
  readonly length: number;
  readonly parent: Node | null;
  /** Null until the token was fed back. */
  alignment: AlignmentRow | null;
  /** Null until then, and where tokens are drawn. */
  next: Candidates | null;
}

export function extend(parent: Node | null, token: number, logProbability: number): Node {
  return {
    token,
    logProbability,
    sum: (parent?.sum ?? 0) + logProbability,
    length: (parent?.length ?? 0) + 1,
    parent,
    alignment: null,
    next: null,
  };
}

/** The nodes from the first token to this one. */
export function pathTo(node: Node | null): Node[] {
  const path: Node[] = [];
  for (let n = node; n; n = n.parent) path.unshift(n);
  return path;
}

/** So many tokens, and three times the same at least: a text of them alone would be refused for repeating itself. */
const LOOP_TOKENS = 40;
const LOOP_TIMES = 3;
const LONGEST_PERIOD = 24;

/** Whether the last tokens are the same few, over and over. */
export function isLooping(node: Node): boolean {
  if (node.length < LOOP_TOKENS) return false;
  const backwards: number[] = [];
  for (let n: Node | null = node; n && backwards.length < LOOP_TIMES * LONGEST_PERIOD; n = n.parent) backwards.push(n.token);
  for (let period = 1; period <= LONGEST_PERIOD; period++) {
    const needed = Math.max(LOOP_TOKENS, LOOP_TIMES * period);
    let same = period;
    while (same < needed && backwards[same] === backwards[same - period]) same++;
    if (same === needed) return true;
  }
  return false;
}

/** Gathers rows into [heads, rows, positions]; each may come from an output of another stride, at least `positions` wide. */
export function gatherAlignment(rows: readonly AlignmentRow[], heads: number, positions: number): Float32Array {
  const alignment = new Float32Array(heads * rows.length * positions);
  rows.forEach(({ data, offset, queries, query, stride }, r) => {
    for (let h = 0; h < heads; h++) {
      const start = offset + (h * queries + query) * stride;
      alignment.set(data.subarray(start, start + positions), (h * rows.length + r) * positions);
    }
  });
  return alignment;
}

// What the way to the recogniser and back costs a window, from the histogram that the server keeps of it.

const BUCKET = /^whisper_remote_hop_seconds_bucket\{le="([^"]+)"\} (\S+)$/gm;

/** Windows by the upper bound of their time in seconds, cumulative. */
export type Buckets = ReadonlyMap<number, number>;

export function parseHop(metrics: string): Buckets {
  const bounds = new Map<number, number>();
  for (const [, bound, count] of metrics.matchAll(BUCKET)) bounds.set(bound === '+Inf' ? Infinity : Number(bound), Number(count));
  return bounds;
}

export interface HopQuantiles {
  readonly windows: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

/** Between two readings; straight lines within a bucket, as Prometheus has it. */
export function hopQuantiles(before: Buckets, after: Buckets): HopQuantiles {
  const bounds = [...after].map(([bound, count]) => ({ bound, count: count - (before.get(bound) ?? 0) })).sort((a, b) => a.bound - b.bound);
  const windows = bounds.at(-1)?.count ?? 0;
  const at = (share: number): number | null => {
    let below = { bound: 0, count: 0 };
    for (const bucket of bounds) {
      if (bucket.count >= share * windows && windows > 0) {
        if (bucket.bound === Infinity) return below.bound * 1000;
        const within = bucket.count === below.count ? 1 : (share * windows - below.count) / (bucket.count - below.count);
        return Number((1000 * (below.bound + within * (bucket.bound - below.bound))).toFixed(2));
      }
      below = bucket;
    }
    return null;
  };
  return { windows, p50Ms: at(0.5), p99Ms: at(0.99) };
}

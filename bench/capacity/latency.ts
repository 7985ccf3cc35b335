// When words arrive: from the sending of a word's last sample to the receipt of the final that holds it, and what that looks like over many.

import { quantile } from '../score.ts';

export interface EndedWord {
  readonly word: string;
  /** Seconds from the stream's first sample. */
  readonly endSeconds: number;
}

/** For systems that time segments only: a segment's words spread evenly over it. */
export function spreadWords(text: string, startSeconds: number, endSeconds: number): EndedWord[] {
  const words = text.split(/\s+/).filter((word) => word !== '');
  const step = Math.max(0, endSeconds - startSeconds) / words.length;
  return words.map((word, index) => ({ word, endSeconds: startSeconds + step * (index + 1) }));
}

/**
 * Seconds from the sending of the frame that holds the word's last sample.
 * @param sentMs when each frame was sent; the first `frameCount` are valid
 */
export function wordLatencySeconds(
  endSeconds: number,
  receivedMs: number,
  sentMs: Float64Array,
  frameCount: number,
  frameSeconds: number,
): number {
  // A sample at the very end of a frame belongs to it
  const frame = Math.ceil(endSeconds / frameSeconds - 1e-6) - 1;
  return (receivedMs - sentMs[Math.max(0, Math.min(frameCount - 1, frame))]!) / 1000;
}

export interface Quantiles {
  readonly count: number;
  /** Null where there is no value. */
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly max: number | null;
}

export function quantiles(values: readonly number[], digits = 3): Quantiles {
  const round = (value: number): number => Number(value.toFixed(digits));
  const at = (fraction: number): number | null => (values.length === 0 ? null : round(quantile(values, fraction)));
  return { count: values.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

/** Where speech begins: the first 20 ms above -40 dB of full scale; 0 where there are none. */
export function firstSpeechSample(pcm: Int16Array): number {
  const window = 320;
  const threshold = 327 ** 2 * window;
  for (let start = 0; start + window <= pcm.length; start += window) {
    let energy = 0;
    for (let at = start; at < start + window; at++) energy += pcm[at]! * pcm[at]!;
    if (energy > threshold) return start;
  }
  return 0;
}

/** Least-squares slope of y over x. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
  const spread = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  return spread === 0 ? 0 : points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spread;
}

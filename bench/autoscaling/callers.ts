// Who calls when, and for how long: a Poisson process that follows the hours of a day, and log-normal lengths.

import type { Random } from './random.ts';

export interface Call {
  readonly atSeconds: number;
  readonly durationSeconds: number;
}

export interface CallersOptions {
  /** Streams at once that the busiest hour would have if none were refused. */
  readonly peakStreams: number;
  readonly meanSeconds: number;
  /** Standard deviation of the lengths over their mean. */
  readonly variation: number;
  /** For each hour of the day, at its middle: calls as a share of the busiest. In between they change evenly. */
  readonly shareByHour: readonly number[];
  readonly hours: number;
}

/** An office day: hardly anybody at night, a peak before noon, a smaller one in the afternoon. Made up; give your own. */
export const OFFICE_DAY: readonly number[] = [
  0.03, 0.02, 0.02, 0.02, 0.02, 0.03, 0.06, 0.16, 0.45, 0.82, 1, 0.97, 0.74, 0.72, 0.88, 0.93, 0.83, 0.6, 0.36, 0.22, 0.15, 0.1, 0.06, 0.04,
];

const HOUR_SECONDS = 3600;

/** Share of the busiest hour's calls at a time of the day. */
export function shareAt(shareByHour: readonly number[], seconds: number): number {
  const hours = shareByHour.length;
  const position = (seconds / HOUR_SECONDS - 0.5 + hours) % hours;
  const hour = Math.floor(position);
  const within = position - hour;
  return shareByHour[hour]! * (1 - within) + shareByHour[(hour + 1) % hours]! * within;
}

/** In order of time, by thinning: calls of the busiest rate, of which the hour's share is kept. */
export function* callsOf(options: CallersOptions, random: Random): Generator<Call> {
  const { hours, meanSeconds, peakStreams, shareByHour, variation } = options;
  const busiest = Math.max(...shareByHour);
  // Little's law: streams at once are calls a second times their length
  const meanInterval = meanSeconds / peakStreams;
  let atSeconds = 0;
  for (;;) {
    atSeconds += random.exponential(meanInterval);
    if (atSeconds >= hours * HOUR_SECONDS) return;
    if (random.uniform() * busiest >= shareAt(shareByHour, atSeconds)) continue;
    yield { atSeconds, durationSeconds: random.logNormal(meanSeconds, variation) };
  }
}

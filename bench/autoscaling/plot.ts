// The simulated day as SVG: who is there, what Serve runs for them, how late words are, and who was refused, over the hours.

import type { TopLevelSpec } from 'vega-lite';
import { COLORS, CONFIG, toSvg, WIDTH } from '../capacity/plot.ts';
import type { Interval } from './tally.ts';

const HEIGHT = 170;
const X = { field: 'atHour', type: 'quantitative', axis: { title: 'hour of the day', tickMinStep: 1 } } as const;

interface Line {
  readonly name: string;
  readonly value: (interval: Interval) => number | null;
}

function panel(title: string, yTitle: string, intervals: readonly Interval[], lines: readonly Line[]): object {
  const values = lines.flatMap(({ name, value }) =>
    intervals.map((interval) => ({ atHour: interval.atHour, line: name, value: value(interval) })).filter((point) => point.value !== null),
  );
  const domain = lines.map(({ name }) => name);
  return {
    width: WIDTH,
    height: HEIGHT,
    title,
    data: { values },
    mark: { type: 'line', interpolate: 'step-after', strokeWidth: 2 },
    encoding: {
      x: X,
      y: { field: 'value', type: 'quantitative', axis: { title: yTitle }, scale: { zero: true } },
      color: { field: 'line', type: 'nominal', scale: { domain, range: COLORS.slice(0, domain.length) }, legend: { title: null } },
    },
  };
}

export async function plotDay(intervals: readonly Interval[], subtitle: string): Promise<string> {
  return toSvg({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: CONFIG,
    title: { text: 'A simulated day', subtitle, offset: 24 },
    resolve: { scale: { color: 'independent' } },
    vconcat: [
      panel('Live streams', 'streams', intervals, [{ name: 'open', value: ({ streams }) => streams }]),
      panel('Replicas and machines', 'count', intervals, [
        { name: 'recognisers', value: ({ recognisers }) => recognisers },
        { name: 'their machines', value: ({ asrNodes }) => asrNodes },
        { name: 'servers', value: ({ servers }) => servers },
      ]),
      panel("Share of the engines' time that finals take", 'share', intervals, [{ name: 'finals', value: ({ finalShare }) => finalShare }]),
      panel('From the last sample of a word to its final', 'seconds', intervals, [
        { name: 'p50', value: ({ wordFinalSeconds }) => wordFinalSeconds.p50 },
        { name: 'p95', value: ({ wordFinalSeconds }) => wordFinalSeconds.p95 },
      ]),
      panel('Refused, of those who asked', '%', intervals, [
        { name: 'refused', value: ({ arrived, refused }) => (arrived === 0 ? null : (100 * refused) / arrived) },
      ]),
    ],
  } as TopLevelSpec);
}

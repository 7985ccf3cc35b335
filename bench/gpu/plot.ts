// The plot of a run: what batches come to, and a step beside what the device's memory allows.

import type { TopLevelSpec } from 'vega-lite';
import { COLORS, CONFIG, toSvg, WIDTH } from '../capacity/plot.ts';
import type { AllResults } from './results.ts';

const HEIGHT = 260;

/** Null where there is nothing to draw. */
export async function plotScaling({ bandwidth, gpu, scaling }: AllResults): Promise<string | null> {
  const points = scaling.flatMap(({ model, points: ofModel, precision, weights }) =>
    ofModel.map((point) => ({ ...point, model: `${model}, ${precision}${weights === 'random' ? ', random weights' : ''}` })),
  );
  if (points.length === 0) return null;
  const batches = [...new Set(points.map(({ batch }) => batch))].sort((a, b) => a - b);
  const names = [...new Set(points.map(({ model }) => model))];
  const x = {
    field: 'batch',
    type: 'quantitative',
    scale: { type: 'log', base: 2, nice: false, padding: 15 },
    axis: { title: 'windows in a batch', values: batches, labelExpr: 'datum.value' },
  };
  const colors = names.map((_, i) => COLORS[i % COLORS.length]);
  const color = { field: 'model', type: 'nominal', scale: { domain: names, range: colors }, legend: { title: 'model' } };
  const y = (field: string, title: string): object => ({
    field,
    type: 'quantitative',
    scale: { type: 'log', nice: false, padding: 20 },
    axis: { title },
  });
  const steps = points.flatMap((point) =>
    [
      { ...point, ms: point.stepMs, of: 'measured' },
      { ...point, ms: point.limitMs, of: 'memory limit' },
    ].filter(({ ms }) => ms !== null && ms > 0),
  );
  const dash = {
    field: 'of',
    type: 'nominal',
    scale: {
      domain: ['measured', 'memory limit'],
      range: [
        [1, 0],
        [7, 4],
      ],
    },
    legend: { title: 'a step' },
  };
  const subtitle = `${gpu?.name ?? 'no NVIDIA GPU'}; windows of 13 s, 22 tokens; ${bandwidth.measuredGigabytesPerSecond?.toFixed(0) ?? '-'} GB/s`;
  return toSvg({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: CONFIG,
    title: { text: 'Batches on a device', subtitle },
    vconcat: [
      {
        width: WIDTH,
        height: HEIGHT,
        title: 'Windows a second',
        data: { values: points },
        mark: { type: 'line', point: { size: 50 } },
        encoding: { x, y: y('windowsPerSecond', 'windows a second'), color },
      },
      {
        width: WIDTH,
        height: HEIGHT,
        title: 'A step of the decoder',
        data: { values: steps },
        mark: { type: 'line', point: { size: 50 } },
        encoding: { x, y: y('ms', 'milliseconds'), color, strokeDash: dash },
      },
    ],
  } as TopLevelSpec);
}

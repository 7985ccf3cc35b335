// Plots of capacity and soak runs as SVG, by Vega-Lite: two panels, light background, every line named in the legend.

import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { HeldStep } from './ladder.ts';
import type { SystemName } from './options.ts';

export const SYSTEM_TITLES: Readonly<Record<SystemName, string>> = {
  ours: 'this service',
  ray: 'this service on Ray',
  naive: 'naive recipe on faster-whisper',
  whisperlive: 'WhisperLive',
};

export const CONFIG = {
  background: 'white',
  font: 'Helvetica, Arial, sans-serif',
  axis: { labelFontSize: 14, titleFontSize: 15, titleFontWeight: 'normal', gridColor: '#e6e6e6' },
  legend: { labelFontSize: 14, titleFontSize: 14, labelLimit: 0, symbolStrokeWidth: 2.5, symbolSize: 500, symbolType: 'stroke' },
  title: { fontSize: 17, anchor: 'start', fontWeight: 'bold', subtitleFontSize: 14 },
  line: { strokeWidth: 2.5 },
} as const;
export const WIDTH = 620;
const HEIGHT = 360;
const BOUND_COLOR = '#b00020';
/** Distinguishable for the colour-blind (Okabe and Ito). */
export const COLORS = ['#0072b2', '#e69f00', '#009e73', '#cc79a7'] as const;
const SYSTEM_COLORS: Readonly<Record<SystemName, string>> = { ours: COLORS[0], ray: COLORS[3], naive: COLORS[1], whisperlive: COLORS[2] };
const DASHES = [
  [1, 0],
  [7, 4],
  [2, 3],
];

export async function toSvg(spec: TopLevelSpec): Promise<string> {
  return new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
}

const bound = (y: number, text: string): object[] => [
  {
    data: { values: [{ y }] },
    mark: { type: 'rule', color: BOUND_COLOR, strokeWidth: 1.5 },
    encoding: { y: { field: 'y', type: 'quantitative' } },
  },
  {
    data: { values: [{ y, text }] },
    mark: { type: 'text', color: BOUND_COLOR, align: 'right', dy: -7, fontSize: 13, x: WIDTH - 4 },
    encoding: { y: { field: 'y', type: 'quantitative' }, text: { field: 'text', type: 'nominal' } },
  },
];

export async function plotSteps(steps: readonly HeldStep[], boundSeconds: number, subtitle: string): Promise<string> {
  const systems = [...new Set(steps.map(({ system }) => system))];
  const counts = [...new Set(steps.map(({ streams }) => streams))].sort((a, b) => a - b);
  const latency = steps.flatMap(({ system, streams, wordFinalSeconds }) =>
    (['p50', 'p95', 'p99'] as const)
      .map((quantile) => ({ system: SYSTEM_TITLES[system], streams, quantile, seconds: wordFinalSeconds[quantile] }))
      .filter(({ seconds }) => seconds !== null),
  );
  const rates = steps.flatMap(({ system, streams, werPercent, referenceWerPercent }) =>
    [
      { system: SYSTEM_TITLES[system], streams, of: 'all at once', percent: werPercent },
      { system: SYSTEM_TITLES[system], streams, of: 'each alone', percent: referenceWerPercent },
    ].filter(({ percent }) => percent !== null),
  );
  const x = {
    field: 'streams',
    type: 'quantitative',
    scale: { type: 'log', base: 2, nice: false, padding: 15 },
    axis: { title: 'streams at once', values: counts, labelExpr: 'datum.value' },
  };
  const color = {
    field: 'system',
    type: 'nominal',
    scale: { domain: systems.map((system) => SYSTEM_TITLES[system]), range: systems.map((system) => SYSTEM_COLORS[system]) },
    legend: { title: 'system' },
  };
  const dash = (field: string, domain: readonly string[], title: string): object => ({
    field,
    type: 'nominal',
    scale: { domain, range: DASHES.slice(0, domain.length) },
    legend: { title },
  });
  return toSvg({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: CONFIG,
    title: { text: 'Capacity: live streams on one machine', subtitle },
    resolve: { scale: { strokeDash: 'independent', color: 'independent' } },
    vconcat: [
      {
        width: WIDTH,
        height: HEIGHT,
        title: 'From the last sample of a word to its final',
        layer: [
          {
            data: { values: latency },
            mark: { type: 'line', point: { size: 50 } },
            encoding: {
              x,
              y: { field: 'seconds', type: 'quantitative', scale: { type: 'log', nice: false, padding: 20 }, axis: { title: 'seconds' } },
              color,
              strokeDash: dash('quantile', ['p50', 'p95', 'p99'], 'of the words'),
            },
          },
          ...bound(boundSeconds, `bound of p95: ${boundSeconds} s`),
        ],
      },
      {
        width: WIDTH,
        height: HEIGHT,
        title: 'Word error rate',
        data: { values: rates },
        mark: { type: 'line', point: { size: 50 } },
        encoding: {
          x,
          y: { field: 'percent', type: 'quantitative', scale: { zero: true }, axis: { title: '%' } },
          color,
          strokeDash: dash('of', ['all at once', 'each alone'], 'the same streams'),
        },
      },
    ],
  } as TopLevelSpec);
}

export interface SoakPoint {
  readonly minute: number;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly residentMB: number;
}

export async function plotSoak(points: readonly SoakPoint[], subtitle: string): Promise<string> {
  const latency = points.flatMap(({ minute, p50, p95 }) => [
    { minute, quantile: 'p50', seconds: p50 },
    { minute, quantile: 'p95', seconds: p95 },
  ]);
  const x = { field: 'minute', type: 'quantitative', axis: { title: 'minute' } };
  return toSvg({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: CONFIG,
    title: { text: 'Soak', subtitle },
    vconcat: [
      {
        width: WIDTH,
        height: HEIGHT,
        title: 'From the last sample of a word to its final',
        data: { values: latency },
        mark: { type: 'line', point: { size: 40 } },
        encoding: {
          x,
          y: { field: 'seconds', type: 'quantitative', axis: { title: 'seconds' } },
          color: { field: 'quantile', type: 'nominal', scale: { range: COLORS }, legend: { title: 'of the words' } },
        },
      },
      {
        width: WIDTH,
        height: HEIGHT / 2,
        title: 'Resident memory',
        data: { values: points },
        mark: { type: 'line', point: { size: 40 }, color: COLORS[0] },
        encoding: { x, y: { field: 'residentMB', type: 'quantitative', axis: { title: 'MB' } } },
      },
    ],
  } as TopLevelSpec);
}

// Word errors over processor time: a line a rule, through the point of the defaults.

import type { TopLevelSpec } from 'vega-lite';
import { DEFAULT_RULES } from '../../src/engine/rules.ts';
import { CONFIG, toSvg, WIDTH } from '../capacity/plot.ts';
import type { RuleName } from './options.ts';

const HEIGHT = 420;

export interface VariantPoint {
  readonly label: string;
  readonly rule: RuleName | null;
  readonly value: number | null;
  readonly errors: number;
  readonly words: number;
  readonly werPercent: number;
  /** Processor seconds a second of audio. */
  readonly cpuPerSecond: number;
}

export async function plotVariants(points: readonly VariantPoint[], subtitle: string): Promise<string> {
  const defaults = points.filter(({ rule }) => rule === null);
  const rules = [...new Set(points.flatMap(({ rule }) => rule ?? []))];
  // The defaults are a point of every line, at that rule's own value.
  const values = rules.flatMap((rule) => [
    ...points.filter((point) => point.rule === rule),
    ...defaults.map((point) => ({ ...point, rule, value: DEFAULT_RULES[rule] })),
  ]);
  const encoding = {
    x: {
      field: 'cpuPerSecond',
      type: 'quantitative',
      scale: { zero: false, padding: 20 },
      axis: { title: 'processor seconds a second of audio' },
    },
    y: { field: 'werPercent', type: 'quantitative', scale: { zero: false, padding: 20 }, axis: { title: 'word errors, %' } },
  };
  return toSvg({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: CONFIG,
    title: { text: 'Rules of the engine: what they cost and what they are worth', subtitle },
    width: WIDTH,
    height: HEIGHT,
    layer: [
      {
        data: { values },
        mark: { type: 'line', point: { size: 60 } },
        encoding: {
          ...encoding,
          color: { field: 'rule', type: 'nominal', legend: { title: 'rule' } },
          order: { field: 'value', type: 'quantitative' },
        },
      },
      {
        data: { values: values.filter(({ label }) => label !== 'default') },
        mark: { type: 'text', dy: -12, fontSize: 13 },
        encoding: { ...encoding, text: { field: 'value', type: 'nominal' } },
      },
      {
        data: { values: defaults },
        mark: { type: 'text', dy: 18, fontSize: 13, fontWeight: 'bold' },
        encoding: { ...encoding, text: { field: 'label', type: 'nominal' } },
      },
    ],
  } as TopLevelSpec);
}

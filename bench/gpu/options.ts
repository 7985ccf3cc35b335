// What a GPU run does: the command line. Its help is in ../gpu.sh.

import { parseArgs } from 'node:util';
import type { Device } from '../../src/engine/device.ts';
import type { Precision } from '../../src/model/graph-layers.ts';
import type { Origin } from './product.ts';
import { SHAPE_NAMES, type ShapeName } from './shapes.ts';

export const MEASURES = ['scaling', 'peer', 'served', 'streams'] as const;
export type Measure = (typeof MEASURES)[number];

export interface GpuOptions {
  readonly device: Device;
  readonly models: readonly ShapeName[];
  /** Of scaling; the first one of streams, too. */
  readonly precisions: readonly Precision[];
  readonly measures: readonly Measure[];
  /** Rising. */
  readonly batches: readonly number[];
  readonly budgetSeconds: number;
  readonly rungSeconds: number;
  readonly chunkSeconds: number;
  /** No more are tried; null: as many as one process may serve. */
  readonly maxStreams: number | null;
  readonly engines: number | null;
  readonly maxBatch: number | null;
  /** MiB */
  readonly deviceMemory: number | null;
  /** Published weights of base; null: those in the service's cache, if there are any. */
  readonly modelDir: string | null;
  /** Folder of .s16le files; null: the recording in docs/. */
  readonly speech: string | null;
  readonly python: string;
  readonly from: Origin;
  readonly out: string | null;
}

const OPTIONS = {
  device: { type: 'string', default: 'cuda' },
  models: { type: 'string', default: 'base,small,large-v3-turbo' },
  precisions: { type: 'string' },
  measure: { type: 'string', default: MEASURES.join(',') },
  batches: { type: 'string', default: '1,2,4,8,16,32,64' },
  'budget-seconds': { type: 'string', default: '480' },
  'rung-seconds': { type: 'string', default: '16' },
  chunk: { type: 'string', default: '5' },
  'max-streams': { type: 'string' },
  engines: { type: 'string' },
  'max-batch': { type: 'string' },
  'device-memory': { type: 'string' },
  'model-dir': { type: 'string' },
  speech: { type: 'string' },
  python: { type: 'string', default: 'python3' },
  'skip-peer': { type: 'boolean', default: false },
  from: { type: 'string', default: 'dist' },
  out: { type: 'string' },
} as const;

const DEVICES = ['cuda', 'webgpu', 'cpu'] as const;
const PRECISIONS: Readonly<Record<Device, readonly Precision[]>> = {
  cuda: ['float16', 'float32'],
  webgpu: ['float16', 'float32'],
  cpu: ['float32'],
};
/** A rung's first seconds do not count, so a shorter one would say nothing. */
const LEAST_RUNG_SECONDS = 8;
const LEAST_BUDGET_SECONDS = 30;

function oneOf<Value extends string>(name: string, text: string, values: readonly Value[]): Value {
  const value = values.find((known) => known === text);
  if (value === undefined) throw new Error(`--${name}: ${text} is none of ${values.join(', ')}`);
  return value;
}

const listOf = <Value extends string>(name: string, text: string, values: readonly Value[]): Value[] => [
  ...new Set(text.split(',').map((item) => oneOf(name, item, values))),
];

function numberOf(name: string, text: string, isGood: (value: number) => boolean, wanted: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || !isGood(value)) throw new Error(`--${name}: got ${text}, expected ${wanted}`);
  return value;
}

const countOf = (name: string, text: string): number =>
  numberOf(name, text, (value) => Number.isInteger(value) && value > 0, 'a whole number above 0');
const optionalCount = (name: string, text: string | undefined): number | null => (text === undefined ? null : countOf(name, text));
const atLeast = (name: string, text: string, least: number): number =>
  numberOf(name, text, (value) => value >= least, `seconds, at least ${least}`);

/** @param outDir where results go unless --out says it */
export function parseGpuOptions(args: readonly string[], outDir: string | undefined): GpuOptions {
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  const device = oneOf('device', values.device, DEVICES);
  const measures = listOf('measure', values.measure, MEASURES).filter((measure) => measure !== 'peer' || !values['skip-peer']);
  const precisions = values.precisions === undefined ? PRECISIONS[device] : listOf('precisions', values.precisions, PRECISIONS[device]);
  return {
    device,
    models: listOf('models', values.models, SHAPE_NAMES),
    precisions,
    measures,
    batches: [...new Set(values.batches.split(',').map((text) => countOf('batches', text)))].sort((a, b) => a - b),
    budgetSeconds: atLeast('budget-seconds', values['budget-seconds'], LEAST_BUDGET_SECONDS),
    rungSeconds: atLeast('rung-seconds', values['rung-seconds'], LEAST_RUNG_SECONDS),
    chunkSeconds: atLeast('chunk', values.chunk, 1),
    maxStreams: optionalCount('max-streams', values['max-streams']),
    engines: optionalCount('engines', values.engines),
    maxBatch: optionalCount('max-batch', values['max-batch']),
    deviceMemory: optionalCount('device-memory', values['device-memory']),
    modelDir: values['model-dir'] ?? null,
    speech: values.speech ?? null,
    python: values.python,
    from: oneOf('from', values.from, ['dist', 'sources']),
    out: values.out ?? outDir ?? null,
  };
}

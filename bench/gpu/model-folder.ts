// A model to be measured: the folder with its weights, random ones if need be, and its graph of whole windows.

import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Device } from '../../src/engine/device.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import type { Precision } from '../../src/model/graph-layers.ts';
import { type Origin, product } from './product.ts';
import { writeRandomModel } from './random-model.ts';
import { type ShapeName, shapeOf } from './shapes.ts';

export interface ModelJob {
  readonly from: Origin;
  readonly device: Device;
  readonly model: ShapeName;
  /** With published weights; null: random ones of the same size. */
  readonly modelDir: string | null;
  readonly precision: Precision;
  /** Where random weights and graphs are kept while the benchmark runs. */
  readonly workDir: string;
}

/** `<|startoftranscript|>`, language, task, `<|notimestamps|>`. */
export const START_TOKENS = 4;
/** Of random weights: tokens of a text and of its prefix together, with which it ends. More than most recorded windows have. */
export const TEXT_LENGTH = 25;
/** The position whose output says that the text is over, when start tokens, prefix and text are before it. */
const END_POSITION = START_TOKENS + TEXT_LENGTH - 1;

export const graphsDir = ({ workDir }: ModelJob): string => join(workDir, 'graphs');

/** The folder with the weights, written now unless it is there. */
export function modelFolder({ model, modelDir, workDir }: ModelJob): string {
  if (modelDir !== null) return modelDir;
  const folder = join(workDir, model);
  if (existsSync(folder)) return folder;
  // What a run that was cut off has left is not taken for a model.
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  writeRandomModel(partial, shapeOf(model), END_POSITION);
  renameSync(partial, folder);
  return folder;
}

/** Weights and graph, made where they are missing. */
export async function windowGraph(job: ModelJob): Promise<{ readonly path: string; readonly config: ModelConfig }> {
  const [{ GRAPH_FORMS }, { readModelConfig }, { buildWindowGraph }] = await Promise.all([
    product(job.from, 'engine/device'),
    product(job.from, 'model/config'),
    product(job.from, 'model/build-graphs'),
  ]);
  const folder = modelFolder(job);
  const config = { ...(await readModelConfig(folder)), name: job.model };
  // On a processor the service takes steps; what its graph of windows takes is measured there for rehearsal only.
  const form = job.device === 'cpu' ? 'windows' : GRAPH_FORMS[job.device];
  return { path: await buildWindowGraph({ modelDir: folder, config, precision: job.precision, graphsDir: graphsDir(job) }, form), config };
}

// Builds a model's ONNX graphs once and keeps them in the cache, until the weights or this builder change.

import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelConfig } from './config.ts';
import { writeDecoderGraph } from './decoder-graph.ts';
import { writeEncoderGraph } from './encoder-graph.ts';
import type { Precision } from './graph-layers.ts';
import { openWeights, WEIGHT_FILES, type Weights } from './weights.ts';
import { writeWindowGraph } from './window-graph.ts';

/** Raise with every change of the graphs or of quantisation: cached graphs of other versions are built anew. */
const BUILDER_VERSION = 11;

/** Folders of builds under way; what a killed process left is removed once nothing was written in it for so long. */
const BUILDING_PREFIX = '.building-';
const STALE_BUILD_MS = 60 * 60_000;

/**
 * `steps`: encoder and decoder, a graph each, for processors. `windows`: one graph that decodes whole windows, for devices whose memory caches
 * must not leave; `windows-composed`: the same without the fused kernel of attention.
 */
export type GraphForm = 'steps' | 'windows' | 'windows-composed';

export interface GraphFiles {
  readonly encoder: string;
  readonly decoder: string;
}

export interface BuildOptions {
  /** Folder with weights and configuration. */
  readonly modelDir: string;
  readonly config: ModelConfig;
  /** @default 'int8'. Steps are not taken in float16. */
  readonly precision?: Precision;
  /** Folder for the graphs of all models; made if missing. */
  readonly graphsDir: string;
  /** Told in words when a build begins. */
  readonly onMessage?: (message: string) => void;
}

/** Whether building has nothing to do. */
export async function areGraphsBuilt(options: BuildOptions, form: GraphForm): Promise<boolean> {
  return existsSync(await graphsFolder(options, form));
}

/** The graphs' files, from the cache or freshly built. Safe to call from several processes at once: the first to finish wins. */
export async function buildGraphs(options: BuildOptions): Promise<GraphFiles> {
  const dir = await build(options, 'steps', (building, weights, precision) => {
    writeEncoderGraph(join(building, 'encoder.onnx'), weights, options.config, precision);
    writeDecoderGraph(join(building, 'decoder.onnx'), weights, options.config, precision);
  });
  return { encoder: join(dir, 'encoder.onnx'), decoder: join(dir, 'decoder.onnx') };
}

/** The same for the graph of whole windows. */
export async function buildWindowGraph(options: BuildOptions, form: Exclude<GraphForm, 'steps'> = 'windows'): Promise<string> {
  const dir = await build(options, form, (building, weights, precision) => {
    writeWindowGraph(join(building, 'windows.onnx'), weights, options.config, precision, form === 'windows' ? 'fused' : 'composed');
  });
  return join(dir, 'windows.onnx');
}

/** @returns the folder that holds what `write` wrote */
async function build(
  options: BuildOptions,
  form: GraphForm,
  write: (dir: string, weights: Weights, precision: Precision) => void,
): Promise<string> {
  const { config, graphsDir, modelDir, precision = 'int8' } = options;
  const dir = await graphsFolder(options, form);
  if (existsSync(dir)) return dir;

  options.onMessage?.(`Building the ${precision} graphs of ${config.name}; this is done once.`);
  await mkdir(graphsDir, { recursive: true });
  await removeStaleBuilds(graphsDir);
  const weights = await openWeights(modelDir);
  const building = join(graphsDir, `${BUILDING_PREFIX}${randomUUID()}`);
  try {
    // mkdtemp would keep other users out of the finished folder for good.
    await mkdir(building);
    write(building, weights, precision);
    await rename(building, dir);
  } catch (error) {
    // Another process finished first: its folder is complete, since it appeared by the same rename.
    if (!existsSync(dir)) throw error;
  } finally {
    weights.close();
    await rm(building, { recursive: true, force: true });
  }
  return dir;
}

async function graphsFolder({ config, graphsDir, modelDir, precision = 'int8' }: BuildOptions, form: GraphForm): Promise<string> {
  const hash = await fingerprint(modelDir, config, precision);
  return join(graphsDir, `${config.name}-${form === 'steps' ? '' : `${form}-`}${precision}-${hash}`);
}

/** A living build writes all the time: its newest file is young. */
async function removeStaleBuilds(graphsDir: string): Promise<void> {
  for (const entry of await readdir(graphsDir)) {
    if (!entry.startsWith(BUILDING_PREFIX)) continue;
    const folder = join(graphsDir, entry);
    try {
      const files = [folder, ...(await readdir(folder)).map((file) => join(folder, file))];
      const times = await Promise.all(files.map(async (file) => (await stat(file)).mtimeMs));
      if (Date.now() - Math.max(...times) > STALE_BUILD_MS) await rm(folder, { recursive: true, force: true });
    } catch {
      // it was just finished or removed by its owner, or belongs to another user: not ours to clean
    }
  }
}

/** Changes with the builder, the configuration and the weights; weights are known by size and time, hashing them would slow every start. */
async function fingerprint(modelDir: string, config: ModelConfig, precision: Precision): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([BUILDER_VERSION, precision, config]));
  for (const name of WEIGHT_FILES) {
    const file = join(modelDir, name);
    if (!existsSync(file)) continue;
    const { size, mtimeMs } = await stat(file);
    hash.update(`${name} ${size} ${mtimeMs}`);
  }
  return hash.digest('hex').slice(0, 16);
}

// The real engine's parts for tests: graphs where the service keeps them too, built once, and sessions on them.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { defaultCacheDir } from '../src/cli/environment.ts';
import { ModelSession } from '../src/engine/model-session.ts';
import { buildGraphs, type GraphFiles } from '../src/model/build-graphs.ts';
import { type ModelConfig, readModelConfig } from '../src/model/config.ts';
import type { Precision } from '../src/model/graph-layers.ts';
import { loadTokenizer, type Tokenizer } from '../src/tokenizer/tokenizer.ts';
import { testModelDir } from './models.ts';

/** Tests run two files at a time; one thread each keeps them from waiting for one another. */
export const TEST_THREADS = 1;

export interface TestModel {
  readonly modelDir: string;
  readonly config: ModelConfig;
  readonly graphs: GraphFiles;
}

export const testGraphsDir = (): string => join(process.env.WHISPER_CACHE || defaultCacheDir(), 'graphs');

/** A real model with its graphs; the first call on a machine downloads and builds. */
export async function testModel(name: 'base' | 'tiny.en', precision: Precision): Promise<TestModel> {
  const modelDir = await testModelDir(name);
  const config = { ...(await readModelConfig(modelDir)), name };
  return { modelDir, config, graphs: await buildGraphs({ modelDir, config, precision, graphsDir: testGraphsDir() }) };
}

/** The same, loaded. */
export async function testSession(
  name: 'base' | 'tiny.en',
  precision: Precision,
): Promise<{ model: TestModel; session: ModelSession; tokenizer: Tokenizer }> {
  const model = await testModel(name, precision);
  const session = await ModelSession.load(model.graphs, model.config, TEST_THREADS);
  const tokenizer = await loadTokenizer(model.modelDir, { multilingual: model.config.multilingual });
  return { model, session, tokenizer };
}

/** How far two vectors of one length point the same way: 1 for the same direction. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += (a[i] as number) * (b[i] as number);
    aa += (a[i] as number) ** 2;
    bb += (b[i] as number) ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}

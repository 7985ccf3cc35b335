// Graphs are built once and kept: what makes them anew, several processes at once, and builds that die half-way.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { toyConfig, writeToyModel } from '../../test/toy-model.ts';
import { WhisperError } from '../core/errors.ts';
import { buildGraphs, type GraphFiles } from './build-graphs.ts';
import { readModelConfig } from './config.ts';

const root = mkdtempSync(join(tmpdir(), 'build-'));
after(() => rmSync(root, { recursive: true }));
const modelDir = join(root, 'toy');
writeToyModel(modelDir, toyConfig({ width: 128 }));
const config = await readModelConfig(modelDir);
const childScript = fileURLToPath(new URL('../../test/build-process.ts', import.meta.url));

const FILES = ['decoder.onnx', 'decoder.onnx.data', 'encoder.onnx', 'encoder.onnx.data'];
const graphsDir = (name: string): string => join(root, `graphs-${name}`);
const runChild = (...args: string[]) => promisify(execFile)(process.execPath, ['--import', 'tsx', childScript, ...args]);

/** All bytes of a build. */
function bytesOf({ encoder, decoder }: GraphFiles): Buffer {
  return Buffer.concat([encoder, `${encoder}.data`, decoder, `${decoder}.data`].map((file) => readFileSync(file)));
}

test('the second build does nothing, and other users may read the first', async () => {
  const messages: string[] = [];
  const options = { modelDir, config, graphsDir: graphsDir('twice'), onMessage: (message: string) => messages.push(message) };
  const first = await buildGraphs(options);
  const dir = join(first.encoder, '..');
  assert.deepEqual(readdirSync(dir).sort(), FILES);
  assert.deepEqual(readdirSync(options.graphsDir), [dir.split('/').at(-1)]);
  assert.equal(statSync(dir).mode & 0o777, 0o777 & ~process.umask());
  const written = statSync(first.encoder);
  assert.deepEqual(await buildGraphs(options), first);
  assert.equal(statSync(first.encoder).mtimeMs, written.mtimeMs);
  assert.equal(statSync(first.encoder).ino, written.ino);
  assert.equal(messages.length, 1);
});

test('the same model gives the same bytes, another precision its own folder', async () => {
  const [a, b] = await Promise.all(['a', 'b'].map((name) => buildGraphs({ modelDir, config, graphsDir: graphsDir(name) })));
  assert.ok(a && b && bytesOf(a).equals(bytesOf(b)));
  const float32 = await buildGraphs({ modelDir, config, graphsDir: graphsDir('a'), precision: 'float32' });
  assert.notEqual(float32.encoder, a.encoder);
  assert.equal(readdirSync(graphsDir('a')).length, 2);
});

test('changed weights and a changed configuration are built anew', async () => {
  const changing = join(root, 'changing');
  writeToyModel(changing, toyConfig({ width: 128 }));
  const options = { modelDir: changing, config, graphsDir: graphsDir('changing') };
  const first = await buildGraphs(options);
  const weights = join(changing, 'model.safetensors');
  const { atime, mtime } = statSync(weights);
  utimesSync(weights, atime, new Date(mtime.getTime() + 1000));
  const second = await buildGraphs(options);
  assert.notEqual(second.encoder, first.encoder);
  const third = await buildGraphs({ ...options, config: { ...config, alignmentHeads: [[0, 0]] } });
  assert.notEqual(third.encoder, second.encoder);
  assert.equal((await buildGraphs(options)).encoder, second.encoder);
});

test('processes and calls that build at once all get the same complete folder', async () => {
  const shared = graphsDir('shared');
  const children = [1, 2].map(() => runChild(modelDir, shared));
  const calls = [1, 2].map(() => buildGraphs({ modelDir, config, graphsDir: shared }));
  const results = [...(await Promise.all(calls)), ...(await Promise.all(children)).map(({ stdout }) => JSON.parse(stdout) as GraphFiles)];
  for (const result of results) assert.deepEqual(result, results[0]);
  const [dir, ...others] = readdirSync(shared);
  assert.deepEqual(others, []);
  assert.deepEqual(readdirSync(join(shared, dir as string)).sort(), FILES);
  assert.ok(bytesOf(results[0] as GraphFiles).equals(bytesOf(await buildGraphs({ modelDir, config, graphsDir: graphsDir('alone') }))));
});

test('a process killed while it builds leaves nothing that counts as complete, and its rest goes once it is old', async () => {
  const dir = graphsDir('killed');
  for (const file of ['encoder.onnx', 'decoder.onnx']) {
    await assert.rejects(runChild(modelDir, dir, file), { signal: 'SIGKILL' });
  }
  const left = readdirSync(dir);
  assert.equal(left.length, 2);
  for (const name of left) assert.ok(name.startsWith('.building-'), name);

  // A young one may be another process at work. Made old to the last file, it goes with the next build.
  const old = new Date(Date.now() - 2 * 60 * 60_000);
  const [dead, living] = left.map((name) => join(dir, name)) as [string, string];
  for (const folder of [dead, living]) {
    for (const file of readdirSync(folder)) utimesSync(join(folder, file), old, old);
    utimesSync(folder, old, old);
  }
  const now = new Date();
  utimesSync(join(living, 'encoder.onnx.data'), now, now);
  const built = await buildGraphs({ modelDir, config, graphsDir: dir });
  assert.deepEqual(readdirSync(join(built.encoder, '..')).sort(), FILES);
  assert.equal(existsSync(dead), false);
  assert.equal(existsSync(living), true);
});

test('a build that fails says why and leaves nothing behind', async () => {
  const broken = join(root, 'broken');
  writeToyModel(broken, toyConfig({ width: 128 }), { without: 'decoder.layer_norm.weight' });
  const dir = graphsDir('broken');
  const isCorrupt = (error: unknown): boolean =>
    error instanceof WhisperError && error.code === 'model_corrupt' && error.message.includes('decoder.layer_norm.weight');
  await assert.rejects(buildGraphs({ modelDir: broken, config, graphsDir: dir }), isCorrupt);
  assert.deepEqual(readdirSync(dir), []);

  const empty = join(root, 'empty');
  mkdirSync(empty);
  await assert.rejects(buildGraphs({ modelDir: empty, config, graphsDir: dir }), { code: 'model_not_found' });
  assert.deepEqual(readdirSync(dir), []);

  // A file where the folder should be made.
  const blocked = join(root, 'blocked');
  writeFileSync(blocked, '');
  await assert.rejects(buildGraphs({ modelDir, config, graphsDir: blocked }));
});

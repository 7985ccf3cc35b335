// The benchmark of a server's threads, as a person runs it: real sockets, the real detector, every stream to its end.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const dir = mkdtempSync(join(tmpdir(), 'bench-server-test-'));
after(() => rmSync(dir, { recursive: true }));
const main = fileURLToPath(new URL('main.ts', import.meta.url));
const run = (...args: string[]) => promisify(execFile)(process.execPath, ['--import', 'tsx', main, ...args]);

test('two streams: each thread took something, each stream had its windows, none was lost', async () => {
  const out = join(dir, 'result.json');
  const { stdout } = await run('--streams', '2', '--seconds', '6', '--out', out);
  assert.match(stdout, /mainMs/);
  const { points } = JSON.parse(readFileSync(out, 'utf8')) as { points: Record<string, number>[] };
  const [point] = points as [Record<string, number>];
  assert.equal(points.length, 1);
  assert.equal(point.streams, 2);
  assert.equal(point.lost, 0);
  for (const name of ['mainMs', 'detectorMs', 'windowsPerStreamSecond']) assert.ok((point[name] as number) > 0, `${name}: ${point[name]}`);
  assert.ok((point.wordFinalP95Seconds as number) > 0, `words final after ${point.wordFinalP95Seconds} s`);
});

test('what is wrong with the options is said, and the help names them', async () => {
  await assert.rejects(run('--streams', 'many'), /whole numbers above 0/);
  assert.match((await run('--help')).stdout, /--streams A,B/);
});

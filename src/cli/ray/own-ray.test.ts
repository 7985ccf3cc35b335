// A head that cannot be put on record does not stay: nobody could stop it later.

import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { commandLine, descendants } from '../../../test/processes.ts';
import { stopHead } from './cluster.ts';
import { startRecorded } from './own-ray.ts';
import { isAlive } from './process-identity.ts';
import { type RayState, readState } from './state-file.ts';

const STATE: RayState = {
  own: null,
  dashboardUrl: 'http://127.0.0.1:1',
  serviceUrl: 'http://127.0.0.1:2',
  metricsUrl: 'http://127.0.0.1:3/metrics',
  applications: ['whisper'],
};
const PORTS = { ray: 1, dashboard: 2, metrics: 3 };

let cache: string;
let python: string;
let key: { cache: string; dashboardPort: number };

beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'own-'));
  python = join(cache, 'python');
  key = { cache, dashboardPort: 2 };
  // in place of Ray's head
  await writeFile(python, `#!${process.execPath}\nsetInterval(() => undefined, 60_000);\n`);
  await chmod(python, 0o755);
});
afterEach(() => rm(cache, { recursive: true, force: true }));

const start = () => startRecorded(key, STATE, { python, environment: { PATH: process.env.PATH ?? '' }, ports: PORTS, cpus: 1 });

test('a head is on record when it has been started', async () => {
  const { head, state } = await start();
  assert.ok(head !== null && state.own !== null && isAlive(head.identity));
  assert.deepEqual(await readState(key), state);
  assert.deepEqual(state.own.head, head.identity);
  assert.match(commandLine(head.identity.pid), /--head/);
  await stopHead(head.identity, state.own.folder);
  await rm(state.own.folder, { recursive: true });
});

test('a head whose state cannot be written is ended', async () => {
  // a folder where the file goes
  await mkdir(join(cache, 'ray', '2.json', 'in the way'), { recursive: true });
  await assert.rejects(start(), { syscall: 'rename' });
  assert.deepEqual(
    descendants(process.pid).filter((pid) => commandLine(pid).includes('--head')),
    [],
  );
});

test('a Python that is not there is an error like others', async () => {
  python = join(cache, 'nowhere');
  await assert.rejects(start(), /nowhere could not be started/);
  assert.equal(await readState(key), null);
});

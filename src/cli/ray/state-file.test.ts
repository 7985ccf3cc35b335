// What `ray start` remembers: by dashboard, readable or as good as not there, and never mistaken for a process that took over a number.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { stopHead } from './cluster.ts';
import { identify, isAlive, type ProcessIdentity, sessionProcesses } from './process-identity.ts';
import { lockState, mayRun, type RayState, readState, removeState, wasStopped, writeState } from './state-file.ts';

const cache = await realpath(await mkdtemp(join(tmpdir(), 'state-')));
after(() => rm(cache, { recursive: true }));

const stateWith = (head: ProcessIdentity | null): RayState => ({
  own: head && { head, folder: cache },
  dashboardUrl: 'http://127.0.0.1:1',
  serviceUrl: 'http://127.0.0.1:2',
  metricsUrl: 'http://127.0.0.1:3/metrics',
  applications: ['whisper'],
});

/** A process that leads a session of its own, with a child in a further session, as Ray and its replicas' children have them. */
async function startSession(): Promise<ProcessIdentity> {
  const inner = `require('child_process').spawn(process.execPath, ['-e', 'setInterval(()=>{},1e6)'], { detached: true, stdio: 'ignore' })`;
  const script = `const child = ${inner}; setInterval(()=>{},1e6); process.on('SIGTERM', () => process.exit()); console.log(child.pid)`;
  const child = spawn(process.execPath, ['-e', script], { detached: true, cwd: cache, stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout, 'data');
  const identity = identify(child.pid ?? 0);
  assert.ok(identity !== null);
  return identity;
}

test('a state is kept for each dashboard until it is removed; one that cannot be read counts as none', async () => {
  const one = { cache, dashboardPort: 8265 };
  const two = { cache, dashboardPort: 8275 };
  await writeState(one, stateWith(null));
  assert.deepEqual(await readState(one), stateWith(null));
  assert.equal(await readState(two), null);
  await writeFile(join(cache, 'ray', '8275.json'), '{');
  assert.equal(await readState(two), null);
  await removeState(one);
  await removeState(one);
  assert.equal(await readState(one), null);
});

test('one start at a time for each dashboard', async () => {
  const key = { cache: join(cache, 'not-yet-there'), dashboardPort: 8265 };
  const unlock = await lockState(key);
  await assert.rejects(lockState(key), /Another `ray start` for the dashboard at port 8265 is under way/);
  await (await lockState({ ...key, dashboardPort: 8275 }))();
  await unlock();
  const again = await lockState(key);
  // somebody else has it now
  await unlock();
  await assert.rejects(lockState(key), /under way/);
  await again();
});

test('a Ray that ends was stopped if its state says so or is gone', () => {
  assert.ok(wasStopped(null) && wasStopped({ ...stateWith(null), isStopping: true }));
  assert.ok(!wasStopped(stateWith(null)));
});

test('a number alone does not make a process ours', async () => {
  const own = identify(process.pid);
  assert.ok(own !== null && isAlive(own) && mayRun(stateWith(own)));
  const recycled = { ...own, started: 'before' };
  assert.ok(!isAlive(recycled) && !mayRun(stateWith(recycled)));
  assert.ok(mayRun(stateWith(null)));
  assert.equal(identify(2 ** 22 + 1), null);
});

test('stopping ends the head with all that descends from it, and nobody who has its number by now', async () => {
  const head = await startSession();
  const members = sessionProcesses(head.pid);
  assert.equal(members.length, 2);
  await stopHead({ ...head, started: 'before' }, join(cache, 'elsewhere'));
  assert.deepEqual(members.filter(isAlive), members);
  await stopHead(head, cache);
  assert.deepEqual(members.filter(isAlive), []);
  await stopHead(head, cache);
});

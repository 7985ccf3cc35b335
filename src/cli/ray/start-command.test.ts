// `ray start` where something is there already: another start, or somebody else's Ray. Against a server that plays the dashboard.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { CommandError } from '../command-error.ts';
import { createProgress } from '../progress.ts';
import { type StartOptions, startRay } from './start-command.ts';
import { lockState, readState } from './state-file.ts';

const cache = await mkdtemp(join(tmpdir(), 'start-'));
after(() => rm(cache, { recursive: true }));

const progress = createProgress({ stream: process.stderr, quiet: true });

/** Options for a Ray that runs, and what it was asked to change. */
async function somebodysRay(context: TestContext): Promise<{ options: StartOptions; changes: string[] }> {
  const changes: string[] = [];
  const server = createServer(async (request, response) => {
    if (request.method !== 'GET') {
      for await (const chunk of request) changes.push(String(chunk));
      response.writeHead(500).end('not today');
    } else if (request.url === '/api/version') response.end('{"ray_version":"2.60.0"}');
    else response.end('{"applications":{}}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  const dashboardPort = (server.address() as AddressInfo).port;
  return { options: { cache, host: '127.0.0.1', rayPort: 1, dashboardPort, metricsPort: 1, detach: true }, changes };
}

function setVariable(context: TestContext, name: string, value: string): void {
  const { [name]: former } = process.env;
  process.env[name] = value;
  context.after(() => {
    if (former === undefined) delete process.env[name];
    else process.env[name] = former;
  });
}

const start = (options: StartOptions): Promise<void> => startRay(options, progress, new AbortController().signal);

test("keys are not given to somebody else's Ray, and the service is not left open there", async (context) => {
  const { changes, options } = await somebodysRay(context);
  setVariable(context, 'WHISPER_API_KEYS', 'secret');
  await assert.rejects(start(options), (error) => {
    assert.ok(error instanceof CommandError);
    assert.match(error.message, /WHISPER_API_KEYS is set: its dashboard would show the keys/);
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
  assert.deepEqual(changes, []);
  assert.equal(await readState(options), null);
});

test("somebody else's Ray is told limits of this environment, and forgotten where it refuses", async (context) => {
  const { changes, options } = await somebodysRay(context);
  setVariable(context, 'WHISPER_MAX_FILES', '3');
  await assert.rejects(start(options), /PUT .*answered 500: not today/);
  assert.equal(JSON.parse(changes.join('')).applications[0].args.server.max_files, 3);
  assert.equal(await readState(options), null);
  // and nothing keeps the next one from trying
  await (await lockState(options))();
});

test('a second start says that the first is under way, and touches nothing', async (context) => {
  const { changes, options } = await somebodysRay(context);
  const unlock = await lockState(options);
  await assert.rejects(start(options), /Another `ray start` .* is under way/);
  await unlock();
  assert.deepEqual(changes, []);
});

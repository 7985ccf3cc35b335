// Serve's REST interface as it answers, or does not: against a server that plays the dashboard.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { CommandError } from '../command-error.ts';
import { type ApplicationDetails, ServeApi, waitUntilRunning } from './serve-api.ts';

interface Answer {
  readonly status?: number;
  readonly body: string;
}

/** Gives the answers in turn, the last one for ever; remembers who asked. */
async function dashboard(context: TestContext, ...answers: Answer[]): Promise<{ url: string; headers: IncomingHttpHeaders[] }> {
  const headers: IncomingHttpHeaders[] = [];
  const server = createServer((request, response) => {
    headers.push(request.headers);
    const { body, status = 200 } = (answers.length > 1 ? answers.shift() : answers[0]) ?? { body: '' };
    response.writeHead(status).end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, headers };
}

const application = (status: ApplicationDetails['status'], message = '', cause = ''): string => {
  const replicas = [{ replica_id: 'a', state: status === 'RUNNING' ? 'RUNNING' : 'STARTING', pid: 1, start_time_s: 0 }];
  const deployments = { WhisperASR: { status: 'UPDATING', message: cause, target_num_replicas: 1, replicas } };
  return JSON.stringify({ applications: { whisper: { status, message, route_prefix: '/', deployments } } });
};

test('Ray is told by its version, from nobody and from somebody else', async (context) => {
  const ray = await dashboard(context, { body: '{"ray_version":"2.60.0"}' });
  assert.equal(await new ServeApi(ray.url, {}).rayVersion(), '2.60.0');
  assert.ok(!('sec-fetch-mode' in (ray.headers[0] ?? {})), 'the dashboard takes that for a browser');
  const other = await dashboard(context, { body: '<html>' });
  await assert.rejects(new ServeApi(other.url, {}).rayVersion(), /in use, and not by Ray's dashboard/);
  const closed = await dashboard(context, { status: 401, body: 'Unauthorized' });
  await assert.rejects(new ServeApi(closed.url, {}).rayVersion(), /not Ray's dashboard, or not for us: .*401: Unauthorized/);
  assert.equal(await new ServeApi('http://127.0.0.1:1', {}).rayVersion(), null);
});

test("a token is sent where Ray's authentication is on, and nowhere else", async (context) => {
  const { headers, url } = await dashboard(context, { body: '{"applications":{}}' });
  await new ServeApi(url, { RAY_AUTH_MODE: 'token', RAY_AUTH_TOKEN: 'secret' }).details();
  await new ServeApi(url, { RAY_AUTH_TOKEN: 'secret' }).details();
  assert.deepEqual(
    headers.map(({ authorization }) => authorization),
    ['Bearer secret', undefined],
  );
});

test('waiting tells how many replicas are there, and ends when all is running', async (context) => {
  const { url } = await dashboard(
    context,
    { body: '{"applications":{}}' },
    { body: application('DEPLOYING') },
    { body: application('RUNNING') },
  );
  const steps: string[] = [];
  await waitUntilRunning(new ServeApi(url, {}), ['whisper'], (step) => steps.push(step), new AbortController().signal);
  assert.deepEqual(steps, ['whisper: deploying', 'whisper: WhisperASR 0 of 1']);
});

test('what fails is told with the causes that Serve gives, without colours', async (context) => {
  const { url } = await dashboard(context, { body: application('DEPLOY_FAILED', '\x1b[36mray::x\x1b[39m failed', 'no such model') });
  await assert.rejects(
    waitUntilRunning(new ServeApi(url, {}), ['whisper'], () => undefined, new AbortController().signal),
    (error) => {
      assert.ok(error instanceof CommandError);
      assert.equal(error.message, 'Application whisper is DEPLOY_FAILED. ray::x failed\nWhisperASR: no such model');
      return true;
    },
  );
});

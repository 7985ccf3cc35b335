// `serve` as a process: it listens while the model loads, ends in order on a signal, and says why it cannot start.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FAKE_REPOSITORY, startFakeHub } from '../../test/fake-hub.ts';

const main = fileURLToPath(new URL('./main.ts', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'serve-'));
after(() => rmSync(root, { recursive: true }));

interface Started {
  readonly child: ChildProcess;
  readonly stderr: () => string;
  readonly ended: Promise<number | null>;
}

function start(context: TestContext, args: readonly string[], environment: Readonly<Record<string, string>> = {}): Started {
  const child = spawn(process.execPath, ['--import', 'tsx', main, 'serve', '--host', '127.0.0.1', ...args], {
    env: { ...process.env, WHISPER_CACHE: root, ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  context.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return { child, stderr: () => stderr, ended: once(child, 'close').then(([code]) => code) };
}

test('a model that is not there ends the process with 1 and the reason', async (context) => {
  const { ended, stderr } = start(context, ['--port', '0', '--model', './no-such-folder']);
  assert.equal(await ended, 1);
  assert.match(stderr(), /^error: .*no-such-folder: no such folder$/m);
});

test('a port in use ends the process with 1, before anything is downloaded', async (context) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  context.after(() => taken.close());
  const { port } = taken.address() as { port: number };
  const { ended, stderr } = start(context, ['--port', String(port)]);
  assert.equal(await ended, 1);
  assert.match(stderr(), /^error: .*EADDRINUSE/m);
});

test('while the model is downloaded it is alive and not ready; SIGTERM ends it with 0', async (context) => {
  const hub = await startFakeHub({ stallAfterBytes: 1000 });
  context.after(() => hub.close());
  const { child, ended, stderr } = start(context, ['--port', '0', '--model', FAKE_REPOSITORY], {
    HF_ENDPOINT: hub.endpoint,
    HTTP_PROXY: '',
    http_proxy: '',
  });
  await Promise.race([hub.stalled, ended.then((code) => assert.fail(`ended with ${code}: ${stderr()}`))]);
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(stderr())?.[0];
  assert.equal((await fetch(`${url}/health`)).status, 200);
  assert.equal((await fetch(`${url}/ready`)).status, 503);
  child.kill('SIGTERM');
  assert.equal(await ended, 0);
});

test('a Ctrl-C that arrives twice, from the terminal and from npm, ends it in order', async (context) => {
  const hub = await startFakeHub({ stallAfterBytes: 1000 });
  context.after(() => hub.close());
  const { child, ended, stderr } = start(context, ['--port', '0', '--model', FAKE_REPOSITORY], {
    HF_ENDPOINT: hub.endpoint,
    HTTP_PROXY: '',
    http_proxy: '',
    WHISPER_CACHE: mkdtempSync(join(root, 'cache-')),
  });
  await Promise.race([hub.stalled, ended.then((code) => assert.fail(`ended with ${code}: ${stderr()}`))]);
  // a request under way keeps it from ending before the second signal is there
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(stderr())?.[0] ?? '';
  const { port } = new URL(url);
  const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined);
  socket.write('POST /transcribe HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n');
  await once(socket, 'connect');
  child.kill('SIGINT');
  setTimeout(() => child.kill('SIGINT'), 20);
  assert.equal(await ended, 0);
});

// `asr` and `serve --asr` as processes: together they transcribe, each ends in order, neither outlives who holds its standard input.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { goldenClip } from '../../test/golden/golden.ts';
import { testModelDir } from '../../test/models.ts';
import { until, wavOf } from '../../test/server-harness.ts';

const main = fileURLToPath(new URL('./main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'asr-'));
after(() => rmSync(folder, { recursive: true }));

interface Started {
  readonly child: ChildProcess;
  readonly stderr: () => string;
  readonly ended: Promise<number | null>;
}

function start(context: TestContext, args: readonly string[]): Started {
  const child = spawn(process.execPath, ['--import', 'tsx', main, ...args, '--until-stdin-ends'], { stdio: ['pipe', 'ignore', 'pipe'] });
  context.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  return { child, stderr: () => stderr, ended: once(child, 'close').then(([code]) => code) };
}

test('a recogniser on a socket and a server before it', async (context) => {
  const socket = join(folder, 'asr.sock');
  const server = start(context, ['serve', '--host', '127.0.0.1', '--port', '0', '--asr', `unix:${socket}`]);
  await until(() => server.stderr().includes('Waiting for the speech recogniser'));
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(server.stderr())?.[0];
  assert.equal((await request(`${url}/ready`)).statusCode, 503);

  const asr = start(context, ['asr', '--socket', socket, '--model', await testModelDir('tiny.en'), '--engines', '1']);
  await until(() => server.stderr().includes('Ready: model tiny.en'), 120_000);

  const pcm = goldenClip();
  const body = Buffer.from(wavOf(Buffer.from(pcm.buffer, pcm.byteOffset, pcm.byteLength)));
  const answer = await request(`${url}/transcribe`, { method: 'POST', body });
  assert.match(((await answer.body.json()) as { text: string }).text, /quick brown fox/i);

  server.child.kill('SIGTERM');
  assert.equal(await server.ended, 0);
  asr.child.kill('SIGTERM');
  assert.equal(await asr.ended, 0);
  assert.equal(existsSync(socket), false);
});

test('it ends at once with its standard input, and leaves no socket', async (context) => {
  const socket = join(folder, 'orphan.sock');
  const asr = start(context, ['asr', '--socket', socket, '--model', await testModelDir('tiny.en'), '--engines', '1']);
  await until(() => existsSync(socket));
  asr.child.stdin?.end();
  assert.equal(await asr.ended, 1);
  assert.equal(existsSync(socket), false);
});

test('an address that is none ends the process with 1 and what was expected', async (context) => {
  const { ended, stderr } = start(context, ['serve', '--host', '127.0.0.1', '--port', '0', '--asr', 'nowhere']);
  assert.equal(await ended, 1);
  assert.match(stderr(), /^error: expected unix:PATH or http:\/\/HOST:PORT/m);
});

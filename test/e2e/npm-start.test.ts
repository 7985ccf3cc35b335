// What `npm start` runs: builds, gives the process its thread pool, gets ready, and ends in order on a signal.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ServerProcess } from '../server-process.ts';

/** Threads of a process (Linux), null elsewhere. */
function threadCount(pid: number): number | null {
  if (process.platform !== 'linux') return null;
  return Number(/^Threads:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

test('it builds and serves the page and the model, with 64 threads for FFmpeg; SIGTERM ends it with 0', async (context) => {
  const temporary = mkdtempSync(join(tmpdir(), 'start-'));
  context.after(() => rmSync(temporary, { recursive: true }));
  const environment = { TMPDIR: temporary, ORT_DISABLE_TELEMETRY: '' };
  const server = await ServerProcess.start({ entry: 'start', args: ['--model', 'tiny.en'], environment });
  context.after(() => server.stop('SIGKILL'));
  assert.match(await (await fetch(server.url)).text(), /<title>/);
  const threads = threadCount(server.pid);
  assert.ok(threads === null || threads > 64, `${threads} threads`);
  assert.equal(await server.stop(), 0);
  assert.deepEqual(
    readdirSync(temporary).filter((name) => name.startsWith('mat-debug') || name.endsWith('.ses')),
    [],
    "onnxruntime's telemetry is off",
  );
});

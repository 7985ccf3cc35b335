// The plain HTTP side: status routes, page, metrics, CORS, and the one error body for everything that goes wrong.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createScriptedTranscriber } from '../../test/scripted-speech.ts';
import { openSocket, startTestServer, until } from '../../test/server-harness.ts';
import type { EngineParts } from './readiness.ts';

const folder = await mkdtemp(join(tmpdir(), 'page-'));
await writeFile(join(folder, 'page.html'), '<!doctype html><title>Page</title>');
await writeFile(join(folder, 'worklet.js'), 'registerProcessor();');
await writeFile(join(folder, 'notes.txt'), 'private');
await writeFile(join(folder, '.hidden.js'), 'private');
const server = await startTestServer({ pagePath: join(folder, 'page.html'), apiKeys: ['key'], limits: { headersTimeoutMs: 300 } });
after(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

async function assertError(response: Response, status: number, code: string): Promise<void> {
  assert.equal(response.status, status);
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
  const body = (await response.json()) as { error: { code: string; message: string } };
  assert.deepEqual(Object.keys(body), ['error']);
  assert.deepEqual(Object.keys(body.error), ['code', 'message']);
  assert.equal(body.error.code, code);
  assert.doesNotMatch(body.error.message, /node_modules|\.ts:|FST_/);
}

/** Sends bytes as they are; resolves when the server closes the connection. */
async function sendRaw(text: string): Promise<string> {
  const { socket, received, closed } = await openSocket(server.port);
  socket.write(text);
  await closed;
  return received();
}

test('health, readiness and metrics answer without a key', async () => {
  assert.deepEqual(await (await fetch(`${server.url}/health`)).json(), { status: 'ok' });
  assert.deepEqual(await (await fetch(`${server.url}/ready`)).json(), { status: 'ready', model: 'scripted' });
  const metrics = await fetch(`${server.url}/metrics`);
  assert.match(metrics.headers.get('content-type') ?? '', /^text\/plain; version=/);
  const text = await metrics.text();
  for (const name of [
    'whisper_stream_sessions 0',
    'whisper_http_requests_total{route="/ready",status="200"} 1',
    'process_cpu_seconds_total',
  ]) {
    assert.ok(text.includes(name), name);
  }
});

test('a server is alive but not ready until its model is warm', async () => {
  let warm: (parts: EngineParts) => void = () => undefined;
  const engine = new Promise<EngineParts>((resolve) => {
    warm = resolve;
  });
  const cold = await startTestServer({ engine });
  try {
    assert.equal((await fetch(`${cold.url}/health`)).status, 200);
    const response = await fetch(`${cold.url}/ready`);
    assert.equal(response.headers.get('retry-after'), '5');
    await assertError(response, 503, 'not_ready');
    await assertError(await fetch(`${cold.url}/transcribe`, { method: 'POST', body: 'x' }), 503, 'not_ready');
    warm({ transcriber: createScriptedTranscriber([]), speechDetector: null });
    await until(async () => (await fetch(`${cold.url}/ready`)).status === 200);
  } finally {
    await cold.close();
  }
});

test('a model that fails to load leaves the server alive and not ready', async () => {
  const cold = await startTestServer({ engine: Promise.reject(new Error('no such model')) });
  await assertError(await fetch(`${cold.url}/ready`), 503, 'not_ready');
  await cold.close();
});

test('the page and its siblings are served, nothing else of the folder', async () => {
  const page = await fetch(`${server.url}/`);
  assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.match(await page.text(), /<title>Page/);
  assert.equal((await fetch(`${server.url}/worklet.js`)).headers.get('content-type'), 'text/javascript; charset=utf-8');
  for (const path of ['/notes.txt', '/.hidden.js', '/..%2f..%2fetc%2fpasswd', '/%2e%2e/package.json']) {
    await assertError(await fetch(server.url + path), 404, 'not_found');
  }
});

test('unknown paths, wrong methods and a missing key get the error body', async () => {
  await assertError(await fetch(`${server.url}/nowhere?text=personal`), 404, 'not_found');
  await assertError(
    await fetch(`${server.url}/nowhere`, { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } }),
    404,
    'not_found',
  );
  // A router's pattern is a path like any other.
  for (const path of ['/:a(', '/*a', '/:id(^\\d+$)']) {
    assert.match(await sendRaw(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`), /^HTTP\/1.1 404 .*"not_found"/s, path);
  }
  const wrong = await fetch(`${server.url}/transcribe`);
  assert.equal(wrong.headers.get('allow'), 'POST');
  await assertError(wrong, 405, 'method_not_allowed');
  const other = await fetch(`${server.url}/health`, { method: 'DELETE' });
  assert.equal(other.headers.get('allow'), 'GET, HEAD');
  await assertError(other, 405, 'method_not_allowed');
  await assertError(await fetch(`${server.url}/stream`), 400, 'invalid_message');
  await assertError(await fetch(`${server.url}/transcribe`, { method: 'POST', body: 'x' }), 401, 'unauthorized');
  await assertError(
    await fetch(`${server.url}/transcribe`, { method: 'POST', body: 'x', headers: { authorization: 'Bearer kez' } }),
    401,
    'unauthorized',
  );
  assert.ok(server.logLines.every((line) => !line.includes('personal')));
});

test('malformed HTTP gets the error body', async () => {
  const cases: [string, number, string][] = [
    ['nonsense\r\n\r\n', 400, 'invalid_message'],
    ['GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'invalid_message'],
    ['GET /%E0%A4%A HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 400, 'invalid_parameter'],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 413, 'payload_too_large'],
    ['POST /transcribe HTTP/1.1\r\nHost: a\r\nContent-Length: nine\r\n\r\n', 400, 'invalid_message'],
    ['POST /transcribe HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n', 400, 'invalid_message'],
    ['GET /health HTTP/1.1\r\nHost: a', 408, 'idle_timeout'],
  ];
  for (const [text, status, code] of cases) {
    const [head, body] = (await sendRaw(text)).split('\r\n\r\n');
    assert.ok(head?.startsWith(`HTTP/1.1 ${status} `), `${JSON.stringify(text.slice(0, 60))}: ${head}`);
    assert.equal(JSON.parse(body ?? '').error.code, code);
  }
});

test('pipelined requests are answered in order', async () => {
  const text = await sendRaw(
    'GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nGET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
  );
  assert.deepEqual(text.match(/HTTP\/1.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200']);
});

test('a page from file:// or elsewhere may call the service', async () => {
  const preflight = await fetch(`${server.url}/transcribe`, {
    method: 'OPTIONS',
    headers: { origin: 'null', 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get('access-control-allow-origin'), '*');
  assert.match(preflight.headers.get('access-control-allow-headers') ?? '', /authorization/);
  for (const path of ['/health', '/nowhere']) {
    const response = await fetch(server.url + path, { headers: { origin: 'null' } });
    assert.equal(response.headers.get('access-control-allow-origin'), '*');
  }
});

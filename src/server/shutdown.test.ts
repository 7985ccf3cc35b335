// Shutting down: nothing new is taken, what was received is answered, the deadline holds.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FLOAT_CONFIG, openSocket, openStream, spokenBytes, startTestServer, until, wavOf } from '../../test/server-harness.ts';

test('a stream gets the finals of what it sent, going_away and 1001', async () => {
  const server = await startTestServer();
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 1.8));
  await until(async () => (await server.metric('whisper_audio_seconds_total')) === 1.8);
  const unheard = await openStream(server.streamUrl);
  const started = performance.now();
  await Promise.all([server.server.close(), server.server.close()]);
  assert.ok(performance.now() - started < 2000);
  const kinds = client.messages.map((message) => (message.type === 'transcript' ? message.text : message.type));
  assert.deepEqual(kinds, ['ready', 'w0 w1 w2', 'going_away']);
  assert.deepEqual(await client.closed, { code: 1001, reason: 'going_away' });
  assert.deepEqual(unheard.messages, [{ type: 'going_away' }]);
  assert.equal((await unheard.closed).code, 1001);
  await assert.rejects(fetch(`${server.url}/health`));
});

test('while draining, requests on open connections are refused and new ones do not connect', async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const server = await startTestServer({ flaws: { before: () => gate } });
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 1.8));
  await client.waitFor('ready');
  const kept = await openSocket(server.port);
  kept.socket.write('GET /ready HTTP/1.1\r\nHost: a\r\n\r\nGET ');
  await until(() => kept.received().includes('200 OK'));
  const closing = server.server.close();
  kept.socket.write('/ready HTTP/1.1\r\nHost: a\r\n\r\n');
  await until(() => kept.received().includes('503 Service Unavailable'));
  assert.match(kept.received(), /"code":"going_away"/);
  await assert.rejects(openStream(server.streamUrl));
  client.send(spokenBytes(1.8, 3));
  release();
  await closing;
  const text = client.messages.flatMap((message) => (message.type === 'transcript' ? [message.text] : [])).join(' ');
  assert.equal(text, 'w0 w1 w2');
});

test('with time to drain, open streams go on until they end, and nothing new is taken', async () => {
  const server = await startTestServer();
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 1.8));
  await client.waitFor('ready');
  const closing = server.server.close({ drainMs: 60_000 });
  await assert.rejects(openStream(server.streamUrl));
  client.send(spokenBytes(1.8, 3));
  client.send({ type: 'end' });
  assert.equal((await client.closed).code, 1000);
  await closing;
  const text = client.messages.flatMap((message) => (message.type === 'transcript' ? [message.text] : [])).join(' ');
  assert.equal(text, 'w0 w1 w2 w3 w4');
});

test('a stream that outlasts the time to drain gets its finals and going_away', async () => {
  const server = await startTestServer();
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 1.8));
  await client.waitFor('ready');
  const closing = server.server.close({ drainMs: 50 });
  client.send(spokenBytes(1.8, 3));
  assert.equal((await client.closed).code, 1001);
  await closing;
  assert.equal(client.messages.at(-1)?.type, 'going_away');
  const text = client.messages.flatMap((message) => (message.type === 'transcript' ? [message.text] : [])).join(' ');
  assert.equal(text, 'w0 w1 w2 w3 w4');
});

test('a running file is finished first', async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const server = await startTestServer({ flaws: { before: () => gate } });
  const answer = fetch(`${server.url}/transcribe`, { method: 'POST', body: wavOf(spokenBytes(0, 2)) });
  await until(() => server.transcriber.requests.length > 0);
  const closing = server.server.close();
  release();
  assert.equal((await answer).status, 200);
  await closing;
});

test('with time to drain, a running file is finished, however short the deadline after it', async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const server = await startTestServer({ flaws: { before: () => gate } });
  const answer = fetch(`${server.url}/transcribe`, { method: 'POST', body: wavOf(spokenBytes(0, 2)) });
  await until(() => server.transcriber.requests.length > 0);
  const closing = server.server.close({ drainMs: 60_000, deadlineMs: 0 });
  // as long as a deadline of nothing would have taken, had it begun
  await delay(100);
  release();
  assert.equal((await answer).status, 200);
  await closing;
});

test('what still runs at the deadline is cut off', async () => {
  const server = await startTestServer({
    flaws: { before: (_request, signal) => new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason))) },
  });
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 6));
  const answer = fetch(`${server.url}/transcribe`, { method: 'POST', body: wavOf(spokenBytes(0, 2)) });
  const silent = await openSocket(server.port);
  await until(() => server.transcriber.requests.length === 2);
  const started = performance.now();
  await server.server.close({ deadlineMs: 100 });
  assert.ok(performance.now() - started < 2000);
  assert.equal((await client.closed).code, 1001);
  assert.equal(client.messages.at(-1)?.type, 'going_away');
  const response = await answer;
  assert.equal(response.status, 503);
  assert.equal(((await response.json()) as { error: { code: string } }).error.code, 'going_away');
  await silent.closed;
});

// The stream over a real socket: the wire from ready to end, configuration, control messages, pressure, limits.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IDLE_LOAD } from '../../test/load.ts';
import {
  FLOAT_CONFIG,
  handshake,
  openSocket,
  openStream,
  type StreamClient,
  serversOfFile,
  spokenBytes,
  until,
  wavOf,
} from '../../test/server-harness.ts';
import type { Word } from '../engine/transcriber.ts';
import type { ServerMessage } from '../protocol/stream-messages.ts';

const start = serversOfFile();

const textOf = (messages: readonly ServerMessage[]): string =>
  messages.flatMap((message) => (message.type === 'transcript' && message.is_final ? [message.text] : [])).join(' ');

/** Finals and no_speech spans cover [0, end) in order. */
function assertCovered(messages: readonly ServerMessage[], endSeconds: number): void {
  let at = 0;
  for (const message of messages) {
    if (message.type !== 'no_speech' && !(message.type === 'transcript' && message.is_final)) continue;
    assert.equal(message.start, at);
    at = message.end;
  }
  assert.equal(at, endSeconds);
}

async function endOf(client: StreamClient): Promise<void> {
  client.send({ type: 'end' });
  await client.waitFor('end');
  assert.deepEqual(await client.closed, { code: 1000, reason: 'end' });
}

const shared = await start();

test('a stream is ready, transcribes, ends and closes with 1000', async () => {
  const client = await openStream(shared.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 6));
  await endOf(client);
  const [ready] = client.messages;
  assert.ok(ready?.type === 'ready');
  const { session_id, ...rest } = ready;
  assert.match(session_id, /^[0-9a-f-]{36}$/);
  assert.deepEqual(rest, { type: 'ready', model: 'scripted', chunk_duration: 5, overlap: 0.5, use_context: true, language: 'en' });
  assert.equal(textOf(client.messages), 'w0 w1 w2 w3 w4 w5 w6 w7 w8 w9');
  assertCovered(client.messages, 6);
  const segments = client.messages.filter((message) => message.type === 'transcript').length;
  assert.deepEqual(client.messages.at(-1), { type: 'end', audio_seconds: 6, segments });
});

test('audio without a configuration gets the defaults', async () => {
  const client = await openStream(shared.streamUrl);
  client.send(Buffer.alloc(32_000));
  const ready = await client.waitFor('ready');
  assert.equal(ready.language, null);
  await endOf(client);
  assertCovered(client.messages, 1);
});

test('the frames that audio comes in do not change the transcript', async () => {
  const texts: ServerMessage[][] = [];
  for (const frameBytes of [1 << 20, 6400, 1001]) {
    const client = await openStream(shared.streamUrl);
    client.send(FLOAT_CONFIG);
    const bytes = spokenBytes(0, 20);
    for (let at = 0; at < bytes.length; at += frameBytes) client.send(bytes.subarray(at, at + frameBytes));
    await endOf(client);
    texts.push(
      client.messages
        .filter((message) => message.type === 'no_speech' || message.type === 'transcript')
        .map((message) => ({ ...message, lag: 0 })),
    );
  }
  assert.deepEqual(texts[1], texts[0]);
  assert.deepEqual(texts[2], texts[0]);
});

test('finalize answers with everything up to it, and the stream goes on', async () => {
  const client = await openStream(shared.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 1.8));
  client.send({ type: 'finalize' });
  client.send(spokenBytes(1.8, 3));
  const { end } = await client.waitFor('finalized');
  assert.equal(end, 1.8);
  assertCovered(client.messages, 1.8);
  await endOf(client);
  assert.equal(textOf(client.messages), 'w0 w1 w2 w3 w4');
});

test('each of many finalizes is answered', async () => {
  const client = await openStream(shared.streamUrl);
  client.send(FLOAT_CONFIG);
  for (let i = 0; i < 200; i++) client.send({ type: 'finalize' });
  await endOf(client);
  assert.equal(client.messages.filter((message) => message.type === 'finalized').length, 200);
});

test('keep_alive before the configuration is not the first message', async () => {
  const client = await openStream(shared.streamUrl);
  client.send({ type: 'keep_alive' });
  client.send(FLOAT_CONFIG);
  await client.waitFor('ready');
  await endOf(client);
});

test('an empty stream ends well', async () => {
  const client = await openStream(shared.streamUrl);
  await endOf(client);
  assert.deepEqual(client.messages.at(-1), { type: 'end', audio_seconds: 0, segments: 0 });
});

test('words are sent where they are asked for', async () => {
  const client = await openStream(shared.streamUrl);
  client.send({ encoding: 'pcm_f32le', word_timestamps: true });
  client.send(spokenBytes(0, 1));
  await endOf(client);
  const final = client.messages.find((message) => message.type === 'transcript');
  assert.deepEqual(final?.words?.[0], { word: ' w0', start: 0.2, end: 0.6, probability: 0.9 });
});

test('a language that the model does not know is refused', async () => {
  const client = await openStream(shared.streamUrl);
  client.send({ language: 'xx' });
  const error = await client.waitFor('error');
  assert.equal(error.code, 'invalid_config');
  assert.match(error.message, /^language: expected one of the 2 languages of model scripted, got "xx"$/);
  assert.deepEqual(await client.closed, { code: 1007, reason: 'invalid_config' });
});

test('a client that sends faster than the engine works is not read meanwhile, and loses nothing', async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const server = await start({ flaws: { before: () => gate }, limits: { maxAheadSeconds: 15 } });
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  const seconds = 60;
  for (let at = 0; at < seconds; at++) client.send(spokenBytes(at, at + 1));
  // What the server has decoded stands still just above the bound, whatever else the client would send.
  await until(async () => (await server.metric('whisper_audio_seconds_total')) >= 15);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok((await server.metric('whisper_audio_seconds_total')) <= 25);
  release();
  await endOf(client);
  assertCovered(client.messages, seconds);
  assert.equal(textOf(client.messages).split(' ').length, 100);
});

test('a container is decoded as it comes', async () => {
  const client = await openStream(shared.streamUrl);
  client.send({ encoding: 'container', language: 'en' });
  const bytes = wavOf(spokenBytes(0, 12));
  // Not at a border of the decoder's blocks of 0.5 s.
  const half = bytes.length / 2 - 1000;
  for (let at = 0; at < half; at += 10_000) client.send(bytes.subarray(at, Math.min(at + 10_000, half)));
  client.send({ type: 'finalize' });
  const { end } = await client.waitFor('finalized');
  // 6 s were sent; FFmpeg keeps back less than one packet of 4096 bytes.
  assert.ok(end > 5.93 && end <= 6, String(end));
  assertCovered(client.messages, end);
  for (let at = half; at < bytes.length; at += 10_000) client.send(bytes.subarray(at, at + 10_000));
  await endOf(client);
  assertCovered(client.messages, 12);
});

test('containers beyond the decoders that the server has are refused', async () => {
  const server = await start({ limits: { maxContainerStreams: 1 } });
  const first = await openStream(server.streamUrl);
  first.send({ encoding: 'container' });
  first.send(wavOf(spokenBytes(0, 1)));
  await until(async () => (await server.metric('whisper_audio_seconds_total')) > 0);
  const second = await openStream(server.streamUrl);
  second.send({ encoding: 'container' });
  const error = await second.waitFor('error');
  assert.equal(error.code, 'overloaded');
  assert.equal(error.retry_after, 5);
  assert.equal((await second.closed).code, 1013);
  await endOf(first);
});

test('a failing engine ends its stream with internal and tells nothing of itself', async () => {
  const server = await start({
    sleep: async () => undefined,
    flaws: {
      before: () => {
        throw new TypeError('secret detail');
      },
    },
  });
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 6));
  const error = await client.waitFor('error');
  assert.equal(error.code, 'internal');
  assert.doesNotMatch(error.message, /secret/);
  assert.equal((await client.closed).code, 1011);
});

test('audio beyond the limit is refused after the finals of what was within it', async () => {
  const server = await start({ limits: { maxStreamSeconds: 3 } });
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 10));
  const error = await client.waitFor('error');
  assert.equal(error.code, 'audio_too_long');
  assertCovered(client.messages, 3);
  assert.equal((await client.closed).code, 1009);
  assert.equal(client.messages.filter((message) => message.type === 'finalized').length, 0);
});

test('a silent client gets its finals and is sent away; keep_alive keeps it', async () => {
  const server = await start({ limits: { idleMs: 150, heartbeatMs: 50 } });
  const quiet = await openStream(server.streamUrl);
  quiet.send(FLOAT_CONFIG);
  quiet.send(spokenBytes(0, 1));
  const chatty = await openStream(server.streamUrl);
  const timer = setInterval(() => chatty.send({ type: 'keep_alive' }), 30);
  const error = await quiet.waitFor('error');
  assert.equal(error.code, 'idle_timeout');
  assertCovered(quiet.messages, 1);
  assert.equal((await quiet.closed).code, 1008);
  clearInterval(timer);
  await endOf(chatty);
});

test('a client that answers no ping is dropped', async () => {
  const server = await start({ limits: { heartbeatMs: 60 } });
  const client = await openStream(server.streamUrl, { autoPong: false });
  assert.equal((await client.closed).code, 1006);
  await until(async () => (await server.metric('whisper_stream_sessions_total', { outcome: 'client_vanished' })) === 1);
});

test('sessions beyond the limit are refused at the handshake with 503 and Retry-After', async () => {
  const server = await start({ limits: { maxSessions: 1 } });
  const first = await openStream(server.streamUrl);
  const response = await fetch(`${server.url}/health`);
  assert.equal(response.status, 200);
  const { socket, received, closed } = await openSocket(server.port);
  socket.write(handshake());
  await closed;
  assert.match(received(), /^HTTP\/1.1 503 Service Unavailable\r\nretry-after: 5\r\n/);
  assert.equal(JSON.parse(received().split('\r\n\r\n')[1]!).error.code, 'overloaded');
  await endOf(first);
  await until(async () => (await server.metric('whisper_stream_sessions')) === 0);
  await endOf(await openStream(server.streamUrl));
  assert.equal(await server.metric('whisper_refused_total', { path: 'stream', code: 'overloaded' }), 1);
});

/** The answer to a bare handshake, and its error body. */
async function refusedHandshake(port: number): Promise<{ readonly head: string; readonly code: string }> {
  const { socket, received, closed } = await openSocket(port);
  socket.write(handshake());
  await closed;
  const [head, body] = received().split('\r\n\r\n');
  return { head: head!, code: JSON.parse(body!).error.code };
}

test('a stream that could not be followed is refused with 503 and Retry-After; those already in go on, and room comes back', async () => {
  let load = IDLE_LOAD;
  const server = await start({ flaws: { load: () => load } });
  load = { ...IDLE_LOAD, finalShare: 0.9, finalDelaySeconds: 5 };
  const first = await openStream(server.streamUrl);
  load = { ...IDLE_LOAD, finalShare: 0.9 };
  const { head, code } = await refusedHandshake(server.port);
  assert.match(head, /^HTTP\/1.1 503 Service Unavailable\r\nretry-after: \d+\r\n/);
  assert.equal(code, 'overloaded');
  assert.equal(await server.metric('whisper_admission_open'), 0);
  assert.ok((await server.metric('whisper_admission_predicted_share')) > 0.9);
  load = { ...IDLE_LOAD, oldestFinalSeconds: 3 };
  assert.match((await refusedHandshake(server.port)).head, /retry-after: 30/);
  load = IDLE_LOAD;
  assert.equal(await server.metric('whisper_admission_open'), 1);
  await endOf(await openStream(server.streamUrl));
  first.send(FLOAT_CONFIG);
  first.send(spokenBytes(0, 6));
  await endOf(first);
  assertCovered(first.messages, 6);
  assert.equal(await server.metric('whisper_refused_total', { path: 'stream', code: 'overloaded' }), 2);
});

test('while nobody has heard of the recogniser for a while, new streams are refused as unavailable, even where all are admitted', async () => {
  let load = IDLE_LOAD;
  const server = await start({ flaws: { load: () => load }, admission: false });
  load = { ...IDLE_LOAD, silentSeconds: 11 };
  const { code, head } = await refusedHandshake(server.port);
  assert.equal(code, 'unavailable');
  assert.match(head, /^HTTP\/1.1 503 Service Unavailable\r\nretry-after: 5\r\n/);
  load = { ...IDLE_LOAD, silentSeconds: 9 };
  await endOf(await openStream(server.streamUrl));
});

test('a page that is refused for load hears it as an event with retry_after, and 1013', async () => {
  let load = IDLE_LOAD;
  const server = await start({ flaws: { load: () => load } });
  const first = await openStream(server.streamUrl);
  load = { ...IDLE_LOAD, finalShare: 0.76 };
  const page = await openStream(server.streamUrl, { origin: 'https://page.example' });
  const error = await page.waitFor('error');
  assert.equal(error.code, 'overloaded');
  assert.ok(error.retry_after! >= 5 && error.retry_after! <= 30, String(error.retry_after));
  assert.deepEqual(await page.closed, { code: 1013, reason: 'overloaded' });
  await endOf(first);
  assert.equal(await server.metric('whisper_refused_total', { path: 'stream', code: 'overloaded' }), 1);
});

test('of a hundred handshakes at once no more are let in than the engine can follow', async () => {
  const server = await start();
  // Finals of 0.15 s every 3.4 s on two engines, 0.75 of their time.
  const capacity = 34;
  const answers = await Promise.allSettled(Array.from({ length: 100 }, () => openStream(server.streamUrl)));
  const opened = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  assert.equal(opened.length, capacity);
  assert.equal(await server.metric('whisper_refused_total', { path: 'stream', code: 'overloaded' }), 66);
  await Promise.all(opened.map(endOf));
  await until(async () => (await server.metric('whisper_stream_sessions')) === 0);
  await endOf(await openStream(server.streamUrl));
});

test('without admission streams are let in whatever the load', async () => {
  const server = await start({ admission: false, flaws: { load: () => ({ ...IDLE_LOAD, finalShare: 1, finalDelaySeconds: 60 }) } });
  const streams = [await openStream(server.streamUrl), await openStream(server.streamUrl)];
  await Promise.all(streams.map(endOf));
  assert.doesNotMatch(await server.registry.metrics(), /whisper_admission/);
});

test('partials give way to finals under load', async () => {
  const server = await start({ flaws: { load: () => ({ ...IDLE_LOAD, finalShare: 0.8 }) } });
  const client = await openStream(server.streamUrl);
  client.send({ ...JSON.parse(FLOAT_CONFIG), interim_results: true });
  for (let at = 0; at < 8; at++) client.send(spokenBytes(at, at + 1));
  await endOf(client);
  assert.ok(server.transcriber.requests.every((request) => request.priority === 'final'));
  assert.equal(await server.metric('whisper_partial_interval_seconds'), Number.POSITIVE_INFINITY);
  assert.match(await server.registry.metrics(), /whisper_partial_interval_seconds \+Inf/);
});

test('a key is asked for where there are keys', async () => {
  const server = await start({ apiKeys: ['first', 'second'] });
  const stranger = await openStream(server.streamUrl);
  assert.equal((await stranger.waitFor('error')).code, 'unauthorized');
  assert.deepEqual(await stranger.closed, { code: 1008, reason: 'unauthorized' });
  await endOf(await openStream(server.streamUrl, { headers: { authorization: 'Bearer second' } }));
  await endOf(await openStream(`${server.streamUrl}?access_token=first`));
});

test('pages of other origins are refused where origins are listed', async () => {
  const server = await start({ allowedOrigins: ['https://good.example'] });
  await assert.rejects(openStream(server.streamUrl, { origin: 'https://bad.example' }), /401/);
  await endOf(await openStream(server.streamUrl, { origin: 'https://good.example' }));
  await endOf(await openStream(server.streamUrl));
});

test('a client that does not read is cut off when too much waits for it', async () => {
  // Words so long that a few dozen windows fill the kernel's buffers on both sides.
  const distort = (words: Word[]) => words.map((word) => ({ ...word, text: ` ${'x'.repeat(100_000)}` }));
  const server = await start({ flaws: { distort }, limits: { cutOffBytes: 1 << 20 } });
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  await client.waitFor('ready');
  client.socket.pause();
  for (let at = 0; at < 60; at++) client.send(spokenBytes(at, at + 1));
  await until(async () => (await server.metric('whisper_stream_sessions_total', { outcome: 'slow_reader' })) === 1);
  client.socket.terminate();
});

test('metrics and log count the stream and hold nothing of what was said', async () => {
  const server = await start();
  const client = await openStream(`${server.streamUrl}?note=personal`);
  client.send({ ...JSON.parse(FLOAT_CONFIG), prompt: 'personal' });
  client.send(spokenBytes(0, 6));
  await endOf(client);
  await until(() => server.logLines.some((line) => line.includes('stream closed')));
  assert.equal(await server.metric('whisper_audio_seconds_total', { path: 'stream' }), 6);
  assert.equal(await server.metric('whisper_stream_sessions_total', { outcome: 'end' }), 1);
  const committed = await server.metric('whisper_stream_committed_seconds_total');
  assert.ok(Math.abs(committed - 6) < 1e-9, String(committed));
  const lines = server.logLines.filter((line) => !line.includes('Server listening'));
  for (const line of lines) assert.doesNotMatch(line, /personal|127\.0\.0\.1|\bw\d/);
  const closed = JSON.parse(server.logLines.find((line) => line.includes('stream closed'))!);
  assert.equal(closed.outcome, 'end');
  assert.equal(closed.audioSeconds, 6);
});

// Everything that a rude client can do, over real sockets, while a well-behaved stream beside it must notice nothing.

import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, test } from 'node:test';
import {
  clientFrame,
  FLOAT_CONFIG,
  handshake,
  holdUntilAborted,
  openSocket,
  openStream,
  SPOKEN,
  type StreamClient,
  spokenBytes,
  startTestServer,
  until,
} from '../../test/server-harness.ts';
import type { ErrorCode } from '../core/errors.ts';

const TEXT = 0x1;
const BINARY = 0x2;
const CONTINUATION = 0x0;

const server = await startTestServer({ limits: { maxMessageBytes: 200_000, headersTimeoutMs: 300, maxSessions: 300 } });
after(server.close);

/** The neighbour: sends a second of speech before each test and one after it, and checks that all of it was heard. */
let neighbour: StreamClient;
beforeEach(async () => {
  neighbour = await openStream(server.streamUrl);
  neighbour.send(FLOAT_CONFIG);
  neighbour.send(spokenBytes(0, 1).subarray(0, 50_001));
});
afterEach(async () => {
  neighbour.send(spokenBytes(0, 3).subarray(50_001));
  neighbour.send({ type: 'end' });
  await neighbour.waitFor('end');
  const text = neighbour.messages.flatMap((message) => (message.type === 'transcript' ? [message.text] : [])).join(' ');
  assert.equal(text, 'w0 w1 w2 w3 w4');
  await neighbour.closed;
  await until(async () => (await server.metric('whisper_stream_sessions')) === 0);
});

async function assertRefused(client: StreamClient, code: ErrorCode, closeCode: number): Promise<string> {
  const error = await client.waitFor('error');
  assert.equal(error.code, code);
  assert.deepEqual(await client.closed, { code: closeCode, reason: code });
  assert.equal(client.messages.at(-1), error);
  return error.message;
}

test('partial JSON, other JSON and text where audio belongs are refused with their codes', async () => {
  const cases: [string, ErrorCode][] = [
    ['{"chunk_duration":', 'invalid_json'],
    ['', 'invalid_json'],
    ['RIFF....WAVE', 'invalid_json'],
    ['[]', 'invalid_message'],
    ['null', 'invalid_message'],
    ['{"type":"start"}', 'invalid_message'],
    ['{"chunkduration":5}', 'invalid_config'],
    ['{"overlap":"0.5"}', 'invalid_config'],
  ];
  for (const [text, code] of cases) {
    const client = await openStream(server.streamUrl);
    client.send(text);
    await assertRefused(client, code, 1007);
  }
});

test('a configuration after audio, or a second one, is refused', async () => {
  const late = await openStream(server.streamUrl);
  late.send(spokenBytes(0, 1));
  late.send(FLOAT_CONFIG);
  assert.match(await assertRefused(late, 'invalid_message', 1007), /must be the first message/);
  const twice = await openStream(server.streamUrl);
  twice.send(FLOAT_CONFIG);
  twice.send(FLOAT_CONFIG);
  await assertRefused(twice, 'invalid_message', 1007);
});

test('text in the middle of audio is refused without being quoted', async () => {
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 1));
  client.send('the secret word');
  assert.doesNotMatch(await assertRefused(client, 'invalid_json', 1007), /secret/);
});

test('a message over the limit gets its error before the close frame, in one frame or in fragments', async () => {
  const whole = await openStream(server.streamUrl);
  whole.send(Buffer.alloc(200_001));
  await assertRefused(whole, 'payload_too_large', 1009);
  const fragments = await openStream(server.streamUrl);
  for (let i = 0; i < 21; i++) fragments.socket.send(Buffer.alloc(10_000), { fin: false });
  await assertRefused(fragments, 'payload_too_large', 1009);
  const tiny = await openStream(server.streamUrl);
  for (let i = 0; i < 5000; i++) tiny.socket.send(Buffer.alloc(1), { fin: false });
  assert.equal((await tiny.waitFor('error')).code, 'payload_too_large');
});

test('a frame that announces a terabyte is refused at its head', async () => {
  const { socket, received, closed } = await openSocket(server.port);
  const head = clientFrame(BINARY, Buffer.alloc(70_000)).subarray(0, 14);
  head.writeBigUInt64BE(2n ** 40n, 2);
  socket.write(handshake());
  socket.write(head);
  await until(() => received().includes('payload_too_large'));
  socket.destroy();
  await closed;
});

test('frames that break RFC 6455 are refused', async () => {
  const cases: [Buffer, string][] = [
    [clientFrame(CONTINUATION, Buffer.from('x')), 'invalid_message'],
    [clientFrame(0x3, Buffer.from('x')), 'invalid_message'],
    [clientFrame(TEXT, Buffer.from([0xff, 0xfe])), 'invalid_json'],
    [Buffer.from([0x82, 0x01, 0x00]), 'invalid_message'],
    [Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'), 'invalid_message'],
  ];
  for (const [bytes, code] of cases) {
    const { socket, received, closed } = await openSocket(server.port);
    socket.write(handshake());
    socket.write(bytes);
    await until(() => received().includes(`"code":"${code}"`));
    socket.destroy();
    await closed;
  }
});

test('audio in frames of one byte is heard as any other', async () => {
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  for (const byte of spokenBytes(0, 0.8)) client.socket.send(Buffer.of(byte));
  client.send({ type: 'end' });
  await client.waitFor('end');
  const [final] = client.messages.filter((message) => message.type === 'transcript');
  assert.equal(final?.text, 'w0');
});

test('an odd byte at the end is an error, after the finals', async () => {
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  client.send(spokenBytes(0, 0.8));
  client.send(Buffer.alloc(3));
  client.send({ type: 'end' });
  assert.match(await assertRefused(client, 'undecodable_audio', 1003), /got 3 bytes more at the end$/);
  assert.ok(client.messages.some((message) => message.type === 'transcript' && message.text === 'w0'));
});

test('bytes that are no container are undecodable', async () => {
  const client = await openStream(server.streamUrl);
  client.send({ encoding: 'container' });
  client.send(Buffer.from('this is not audio '.repeat(2000)));
  client.send({ type: 'end' });
  await assertRefused(client, 'undecodable_audio', 1003);
});

test('what comes after end is ignored', async () => {
  const client = await openStream(server.streamUrl);
  client.send({ type: 'end' });
  client.send('nonsense');
  client.send(Buffer.alloc(1000));
  assert.equal((await client.waitFor('end')).audio_seconds, 0);
  assert.equal((await client.closed).code, 1000);
});

test('clients that vanish at any point leave nothing behind', async () => {
  const heads = [
    '',
    handshake().slice(0, 40),
    handshake(),
    Buffer.concat([Buffer.from(handshake()), clientFrame(TEXT, Buffer.from(FLOAT_CONFIG))]),
    Buffer.concat([
      Buffer.from(handshake()),
      clientFrame(TEXT, Buffer.from(FLOAT_CONFIG)),
      clientFrame(BINARY, spokenBytes(0, 1)).subarray(0, 1000),
    ]),
  ];
  for (const head of heads) {
    for (const leave of ['destroy', 'resetAndDestroy', 'end'] as const) {
      const { socket, closed } = await openSocket(server.port);
      if (head.length > 0) socket.write(head);
      // The kernel may drop unsent bytes at a reset; either way the server must cope.
      socket[leave]();
      await closed;
    }
  }
  await until(async () => (await server.metric('whisper_stream_sessions')) === 1);
});

test('a client that vanishes has its work in the engine aborted', async () => {
  let aborted = 0;
  const before = holdUntilAborted(() => aborted++);
  const stuck = await startTestServer({ flaws: { before } });
  try {
    const client = await openStream(stuck.streamUrl);
    client.send(FLOAT_CONFIG);
    client.send(spokenBytes(0, 6));
    await until(() => stuck.transcriber.requests.length === 1);
    client.socket.terminate();
    await until(() => aborted === 1);
    await until(async () => (await stuck.metric('whisper_stream_sessions_total', { outcome: 'client_vanished' })) === 1);
  } finally {
    await stuck.close();
  }
});

test('a client that vanishes while it is not read is noticed at the next ping', async () => {
  const before = (_request: unknown, signal?: AbortSignal) =>
    new Promise<void>((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
  const stuck = await startTestServer({ flaws: { before }, limits: { maxAheadSeconds: 5, heartbeatMs: 100 } });
  try {
    const client = await openStream(stuck.streamUrl);
    client.send(FLOAT_CONFIG);
    for (let at = 0; at < 60; at++) client.send(spokenBytes(at, at + 1));
    await until(async () => (await stuck.metric('whisper_audio_seconds_total')) > 10);
    client.socket.terminate();
    await until(async () => (await stuck.metric('whisper_stream_sessions')) === 0);
  } finally {
    await stuck.close();
  }
});

test('two hundred clients that connect and leave at once leave nothing behind', async () => {
  await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const client = await openStream(server.streamUrl);
      if (i % 4 === 0) client.send(spokenBytes(0, 0.2));
      if (i % 2 === 0) client.socket.terminate();
      else client.socket.close();
      await client.closed;
    }),
  );
  await until(async () => (await server.metric('whisper_stream_sessions')) === 1);
});

test('audio in the same packet as the handshake is heard', async () => {
  const { socket, received, closed } = await openSocket(server.port);
  const frames = [
    clientFrame(TEXT, Buffer.from(FLOAT_CONFIG)),
    clientFrame(BINARY, spokenBytes(0, 0.8).subarray(0, 51_200)),
    clientFrame(TEXT, Buffer.from('{"type":"end"}')),
  ];
  socket.write(Buffer.concat([Buffer.from(handshake()), ...frames]));
  await until(() => received().includes('"type":"end"'));
  assert.match(received(), /"text":"w0"/);
  socket.destroy();
  await closed;
});

test('a handshake that drips in is cut off', async () => {
  const { socket, received, closed } = await openSocket(server.port);
  const text = handshake();
  let at = 0;
  const timer = setInterval(() => socket.write(text[at++] ?? ''), 20);
  await closed;
  clearInterval(timer);
  assert.ok(at < text.length);
  assert.match(received(), /^HTTP\/1.1 408 [\s\S]*"code":"idle_timeout"/);
});

test('handshakes that are none are answered with the error body', async () => {
  const cases: [string, number, ErrorCode][] = [
    [handshake('/nowhere'), 404, 'not_found'],
    [handshake('/transcribe'), 404, 'not_found'],
    [handshake().replace('Version: 13', 'Version: 99'), 400, 'invalid_message'],
    [handshake().replace('Upgrade: websocket', 'Upgrade: h2c'), 400, 'invalid_message'],
    [handshake().replace(/Sec-WebSocket-Key: .*\r\n/, ''), 400, 'invalid_message'],
    [handshake().replace('GET', 'POST'), 400, 'invalid_message'],
  ];
  for (const [text, status, code] of cases) {
    const { socket, received, closed } = await openSocket(server.port);
    socket.write(text);
    await closed;
    const [head, body] = received().split('\r\n\r\n');
    assert.ok(head?.startsWith(`HTTP/1.1 ${status} `), received());
    assert.equal(JSON.parse(body ?? '').error.code, code);
  }
});

test('the words of a minute are all heard while others misbehave', async () => {
  const client = await openStream(server.streamUrl);
  client.send(FLOAT_CONFIG);
  for (let at = 0; at < 60; at++) {
    client.send(spokenBytes(at, at + 1));
    const rude = await openStream(server.streamUrl);
    if (at % 3 === 0) rude.send('{');
    else if (at % 3 === 1) rude.send(Buffer.alloc(300_000));
    else rude.socket.terminate();
    await rude.closed;
  }
  client.send({ type: 'end' });
  const end = await client.waitFor('end');
  const text = client.messages.flatMap((message) => (message.type === 'transcript' ? [message.text] : [])).join(' ');
  assert.equal(end.audio_seconds, 60);
  assert.equal(text, SPOKEN.map((_, index) => `w${index}`).join(' '));
});

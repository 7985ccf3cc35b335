// POST /transcribe over real sockets: bodies and forms, formats, and every way in which a file is refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IDLE_LOAD } from '../../test/load.ts';
import { holdUntilAborted, openSocket, SPOKEN, serversOfFile, spokenBytes, until, wavOf } from '../../test/server-harness.ts';
import type { Transcript } from '../protocol/rest.ts';

const start = serversOfFile();

const shared = await start({ limits: { maxFileBytes: 4_000_000, maxFileSeconds: 20, idleMs: 300 } });
const wav = wavOf(spokenBytes(0, 6));
const WORDS = 'w0 w1 w2 w3 w4 w5 w6 w7 w8 w9';

const post = (query: string, body: BodyInit, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${shared.url}/transcribe${query}`, { method: 'POST', body, headers: { 'content-type': 'audio/wav', ...headers } });

const postForm = (form: FormData, query = ''): Promise<Response> =>
  fetch(`${shared.url}/transcribe${query}`, { method: 'POST', body: form });

async function assertRefused(response: Response, status: number, code: string, message = /./): Promise<void> {
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  assert.equal(error.code, code, error.message);
  assert.equal(response.status, status);
  assert.match(error.message, message);
}

test('a file as the body is answered with its transcript', async () => {
  const response = await post('?language=en', wav);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
  const transcript = (await response.json()) as Transcript;
  assert.equal(transcript.text, WORDS);
  assert.equal(transcript.language, 'en');
  assert.equal(transcript.duration, 6);
  assert.deepEqual(Object.keys(transcript.segments[0] ?? {}).sort(), ['end', 'id', 'start', 'text']);
});

test('the type of the body does not matter unless it says that it is not audio', async () => {
  for (const type of ['audio/x-wav', 'application/octet-stream', 'video/webm', 'application/x-www-form-urlencoded', 'application/ogg']) {
    assert.equal((await post('', wav, { 'content-type': type })).status, 200, type);
  }
  for (const type of ['application/json', 'text/html; charset=utf-8', 'image/png']) {
    await assertRefused(await post('', wav, { 'content-type': type }), 415, 'undecodable_audio', new RegExp(`got ${type.split(';')[0]}`));
  }
});

test('a form with a file is as good, and its fields are query keys', async () => {
  const form = new FormData();
  form.append('response_format', 'text');
  form.append('file', new Blob([wav]), 'a.wav');
  assert.equal(await (await postForm(form)).text(), `${WORDS}\n`);
});

test('fields may follow the file', async () => {
  const form = new FormData();
  form.append('file', new Blob([wav]), 'a.wav');
  form.append('response_format', 'text');
  form.append('language', 'en');
  assert.equal(await (await postForm(form)).text(), `${WORDS}\n`);
});

test('forms that are not what is expected are refused', async () => {
  const blob = new Blob([wav]);
  const form = (...fields: [string, string | Blob][]): FormData => {
    const data = new FormData();
    for (const [name, value] of fields) data.append(name, value);
    return data;
  };
  await assertRefused(await postForm(form()), 400, 'invalid_parameter', /got none/);
  await assertRefused(await postForm(form(['language', 'en'])), 400, 'invalid_parameter', /got none/);
  await assertRefused(await postForm(form(['audio', blob])), 400, 'invalid_parameter', /form field "file"/);
  await assertRefused(await postForm(form(['file', blob], ['lang', 'en'])), 400, 'invalid_parameter', /unknown key "lang"/);
  await assertRefused(await postForm(form(['file', blob], ['file', blob])), 400, 'invalid_parameter');
  await assertRefused(await postForm(form(['lang', 'en'], ['file', blob])), 400, 'invalid_parameter', /unknown key "lang"/);
  await assertRefused(await postForm(form(['language', 'en'], ['file', blob]), '?language=en'), 400, 'invalid_parameter', /got an array/);
  await assertRefused(await post('', 'no boundary here', { 'content-type': 'multipart/form-data' }), 400, 'invalid_message');
  await assertRefused(await post('', '--x\r\ngarbage', { 'content-type': 'multipart/form-data; boundary=x' }), 400, 'invalid_message');
  const cut = new Uint8Array(
    Buffer.concat([Buffer.from('--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'), wav]),
  );
  await assertRefused(await post('', cut, { 'content-type': 'multipart/form-data; boundary=x' }), 400, 'invalid_message');
});

test('each format has its type and shape', async () => {
  const verbose = (await (await post('?response_format=verbose_json&word_timestamps=true&language=en', wav)).json()) as Transcript & {
    task: string;
    words: object[];
  };
  assert.equal(verbose.task, 'transcribe');
  assert.equal(verbose.words.length, 10);
  assert.deepEqual(verbose.words[0], { word: ' w0', start: 0.2, end: 0.6, probability: 0.9 });
  const srt = await post('?response_format=srt', wav);
  assert.match(srt.headers.get('content-type') ?? '', /^application\/x-subrip/);
  assert.match(await srt.text(), /^1\n00:00:00,\d{3} --> 00:00:0\d,\d{3}\nw0 /);
  const vtt = await post('?response_format=vtt', wav);
  assert.match(vtt.headers.get('content-type') ?? '', /^text\/vtt/);
  assert.match(await vtt.text(), /^WEBVTT\n\n00:00:00\.\d{3} --> /);
});

test('wrong parameters are refused by name', async () => {
  await assertRefused(await post('?lang=en', wav), 400, 'invalid_parameter', /^unknown key "lang"/);
  await assertRefused(await post('?language=xx', wav), 400, 'invalid_parameter', /^language: .* got "xx"$/);
  await assertRefused(await post('?language=en&language=de', wav), 400, 'invalid_parameter', /got an array/);
  await assertRefused(await post('?response_format=xml', wav), 400, 'invalid_parameter', /got "xml"/);
});

test('what is not audio, or holds none, is refused', async () => {
  await assertRefused(await post('', 'this is not audio '.repeat(100)), 415, 'undecodable_audio');
  await assertRefused(await post('', ''), 422, 'no_audio');
  await assertRefused(await post('', wavOf(Buffer.alloc(0))), 422, 'no_audio');
});

test('too many bytes are refused, announced or not, and the answer arrives while the client still sends', async () => {
  await assertRefused(await post('', new Uint8Array(4_000_001)), 413, 'payload_too_large', /got 4000001$/);
  const chunk = new Uint8Array(100_000);
  let sent = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent === 0) controller.enqueue(wav);
      else if (sent > 100) controller.close();
      else controller.enqueue(chunk);
      sent++;
    },
  });
  const request = { method: 'POST', body: endless, duplex: 'half' } as RequestInit;
  await assertRefused(await fetch(`${shared.url}/transcribe`, request), 413, 'payload_too_large', /got more$/);
  assert.equal((await post('', wav)).status, 200);
});

test('too many seconds are refused', async () => {
  await assertRefused(await post('', wavOf(spokenBytes(0, 21))), 413, 'audio_too_long');
});

test('a client that stops in the middle of its file is sent away', async () => {
  const { socket, received, closed } = await openSocket(shared.port);
  socket.write(`POST /transcribe HTTP/1.1\r\nHost: a\r\nContent-Length: ${wav.length}\r\n\r\n`);
  socket.write(wav.subarray(0, 1000));
  await until(() => received().includes('idle_timeout'));
  assert.match(received(), /^HTTP\/1.1 408 /);
  socket.destroy();
  await closed;
});

test('a client that vanishes has its work aborted', async () => {
  let aborted = 0;
  const before = holdUntilAborted(() => aborted++);
  const server = await start({ flaws: { before } });
  for (const part of [wav, wav.subarray(0, 1000)]) {
    const { socket, closed } = await openSocket(server.port);
    socket.write(`POST /transcribe HTTP/1.1\r\nHost: a\r\nContent-Length: ${wav.length}\r\n\r\n`);
    socket.write(part);
    if (part === wav) await until(() => server.transcriber.requests.length === 1);
    socket.destroy();
    await closed;
  }
  await until(async () => (await server.metric('whisper_http_requests_total', { route: '/transcribe', status: '499' })) === 2);
  assert.equal(aborted, 1);
});

test('a file is refused while live speech takes all of the engine, unless admission is off', async () => {
  const flaws = { load: () => ({ ...IDLE_LOAD, finalShare: 0.95 }) };
  const [yielding, stubborn] = [await start({ flaws }), await start({ flaws, admission: false })];
  const upload = ({ url }: { readonly url: string }) => fetch(`${url}/transcribe`, { method: 'POST', body: wav });
  const refused = await upload(yielding);
  assert.equal(refused.headers.get('retry-after'), '10');
  await assertRefused(refused, 503, 'overloaded');
  assert.equal((await upload(stubborn)).status, 200);
});

test('files beyond the limit are refused with Retry-After, and a slow one times out', async () => {
  const before = (_request: unknown, signal?: AbortSignal) =>
    new Promise<void>((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
  const server = await start({ flaws: { before }, limits: { maxFiles: 1, fileTimeoutMs: 400 } });
  const slow = fetch(`${server.url}/transcribe`, { method: 'POST', body: wav });
  await until(() => server.transcriber.requests.length === 1);
  const refused = await fetch(`${server.url}/transcribe`, { method: 'POST', body: wav });
  assert.equal(refused.headers.get('retry-after'), '5');
  await assertRefused(refused, 503, 'overloaded');
  await assertRefused(await slow, 504, 'timeout');
  assert.equal(await server.metric('whisper_refused_total', { path: 'rest', code: 'overloaded' }), 1);
});

test('a failing engine is an internal error without details', async () => {
  const server = await start({
    sleep: async () => undefined,
    flaws: {
      before: () => {
        throw new TypeError('secret detail');
      },
    },
  });
  const response = await fetch(`${server.url}/transcribe`, { method: 'POST', body: wav });
  assert.doesNotMatch(await response.clone().text(), /secret|TypeError/);
  await assertRefused(response, 500, 'internal');
});

test('metrics and log count the file and hold nothing of it', async () => {
  const server = await start();
  await fetch(`${server.url}/transcribe?prompt=personal`, { method: 'POST', body: wavOf(spokenBytes(0, 6, SPOKEN)) });
  await until(() => server.logLines.some((line) => line.includes('/transcribe')));
  assert.equal(await server.metric('whisper_audio_seconds_total', { path: 'rest' }), 6);
  assert.equal(await server.metric('whisper_http_requests_total', { route: '/transcribe', status: '200' }), 1);
  for (const line of server.logLines) assert.doesNotMatch(line, /personal|\bw\d/);
});

// The engine as a service and its client: conformance over a Unix socket, what is lost on the way, limits, cancellation, closing.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { Registry } from 'prom-client';
import { request } from 'undici';
import { TEST_THREADS, testGraphsDir } from '../../test/engine.ts';
import { goldenClip, readGolden } from '../../test/golden/golden.ts';
import { IDLE_LOAD } from '../../test/load.ts';
import { testModelDir } from '../../test/models.ts';
import { createScriptedTranscriber, hear } from '../../test/scripted-speech.ts';
import { holdUntilAborted, SPOKEN, until } from '../../test/server-harness.ts';
import { transcriberConformance } from '../../test/transcriber-conformance.ts';
import { WhisperError } from '../core/errors.ts';
import { encodeWindow } from '../engine/asr-protocol.ts';
import { createTranscriber } from '../engine/create.ts';
import {
  connectRemoteTranscriber,
  type RemoteObservation,
  type RemoteTranscriber,
  type RemoteTranscriberOptions,
} from '../engine/remote-transcriber.ts';
import type { TranscribeRequest, Transcriber } from '../engine/transcriber.ts';
import { createAsrServer } from './asr-server.ts';
import { createRemoteMetrics } from './remote-metrics.ts';

const NEVER = new AbortController().signal;
const folder = mkdtempSync(join(tmpdir(), 'asr-'));
after(() => rmSync(folder, { recursive: true }));
let sockets = 0;

transcriberConformance('the remote transcriber', async () => {
  const engine = await createTranscriber({
    modelDir: await testModelDir('tiny.en'),
    modelName: 'tiny.en',
    graphsDir: testGraphsDir(),
    threads: TEST_THREADS,
    rules: { beamThreshold: 0 },
  });
  const socketPath = join(folder, `${sockets++}.sock`);
  const server = await createAsrServer({ transcriber: engine, registry: new Registry(), address: { socketPath } });
  const remote = await connectRemoteTranscriber({ url: `unix:${socketPath}` }, NEVER);
  const close = async (): Promise<void> => {
    await remote.close();
    await server.close();
    await engine.close();
  };
  return {
    transcriber: {
      info: remote.info,
      load: () => remote.load(),
      transcribe: (request, signal) => remote.transcribe(request, signal),
      close,
    },
    pcm: goldenClip(),
    language: 'en',
    text: readGolden('tiny.en').greedy.text,
  };
});

const REQUEST: TranscribeRequest = { pcm: Float32Array.of(0, 0.5, 0.5, 0), language: 'en' };

interface Served {
  readonly engine: Transcriber & { readonly requests: TranscribeRequest[] };
  readonly url: string;
  readonly remote: RemoteTranscriber;
  readonly seen: RemoteObservation[];
}

async function serve(
  context: TestContext,
  flaws: Parameters<typeof createScriptedTranscriber>[1] = {},
  options: Partial<RemoteTranscriberOptions> = {},
): Promise<Served> {
  const engine = createScriptedTranscriber(SPOKEN, flaws);
  const server = await createAsrServer({ transcriber: engine, registry: new Registry(), address: { host: '127.0.0.1', port: 0 } });
  const url = `http://127.0.0.1:${server.port}`;
  const seen: RemoteObservation[] = [];
  const remote = await connectRemoteTranscriber({ url, onWindow: (observation) => seen.push(observation), ...options }, NEVER);
  context.after(async () => {
    await remote.close();
    await server.close({ deadlineMs: 0 });
  });
  return { engine, url, remote, seen };
}

/** A replica that does as told for windows; reports and everything else are in order. */
async function replicaThat(
  context: TestContext,
  answers: readonly ('lost' | 'unavailable' | 'garbage' | 'refused' | 'silent' | 'good')[],
): Promise<string> {
  const left = [...answers];
  const good = { replica: 'r', load: IDLE_LOAD, callers: 1, result: hear(SPOKEN, REQUEST), seconds: 0.01 };
  const server: Server = createServer(((incoming, reply) => {
    if (incoming.method === 'GET')
      return void reply.end(JSON.stringify({ ...good, info: { name: 'toy', multilingual: false, languages: ['en'] } }));
    const answer = left.shift() ?? 'silent';
    incoming.resume().on('end', () => {
      if (answer === 'lost') incoming.socket.destroy();
      if (answer === 'unavailable') reply.writeHead(502).end('<html>');
      if (answer === 'garbage') reply.end('not json');
      if (answer === 'refused') reply.writeHead(503, { 'retry-after': '7' }).end('{"error":{"code":"overloaded","message":"full"}}');
      if (answer === 'good') reply.end(JSON.stringify(good));
    });
  }) satisfies RequestListener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function connect(context: TestContext, url: string, options: Partial<RemoteTranscriberOptions> = {}): Promise<RemoteTranscriber> {
  const remote = await connectRemoteTranscriber({ url, ...options }, NEVER);
  context.after(() => remote.close());
  return remote;
}

const isError = (code: string) => (error: unknown) => error instanceof WhisperError && error.code === code;

test('a window whose replica was lost is sent again, whatever the loss looked like', async (context) => {
  let retries = 0;
  const url = await replicaThat(context, ['lost', 'unavailable', 'garbage', 'good']);
  const remote = await connect(context, url, { onRetry: () => retries++ });
  assert.deepEqual(await remote.transcribe(REQUEST), hear(SPOKEN, REQUEST));
  assert.equal(retries, 3);
});

test('a partial is not sent again', async (context) => {
  const remote = await connect(context, await replicaThat(context, ['lost', 'good']));
  await assert.rejects(remote.transcribe({ ...REQUEST, priority: 'partial' }), isError('unavailable'));
});

test("the engine's own refusals and failures are the answer, with the time to wait", async (context) => {
  const remote = await connect(context, await replicaThat(context, ['refused', 'good']));
  await assert.rejects(
    remote.transcribe(REQUEST),
    (error) => isError('overloaded')(error) && (error as WhisperError).retryAfterSeconds === 7,
  );
});

test('a window that nobody answers is given up in time', async (context) => {
  const remote = await connect(context, await replicaThat(context, []), { giveUpSeconds: { final: 0.1 } });
  await assert.rejects(remote.transcribe(REQUEST), isError('unavailable'));
  const gone = createServer((_incoming, reply) => {
    const info = { name: 'toy', multilingual: false, languages: ['en'] };
    reply.end(JSON.stringify({ replica: 'r', load: IDLE_LOAD, callers: 1, info }));
  }).listen(0, '127.0.0.1');
  await once(gone, 'listening');
  const url = `http://127.0.0.1:${(gone.address() as AddressInfo).port}`;
  const alone = await connect(context, url, { giveUpSeconds: { final: 1 } });
  gone.closeAllConnections();
  gone.close();
  await assert.rejects(alone.transcribe(REQUEST), isError('unavailable'), 'whoever is not there has taken nothing, however often');
});

test('a window on which one replica after the other is lost is not given to a fifth', async (context) => {
  const remote = await connect(context, await replicaThat(context, Array(100).fill('lost')));
  const startMs = performance.now();
  await assert.rejects(remote.transcribe(REQUEST), isError('internal'));
  assert.ok(performance.now() - startMs > 3000, 'losses within a second are one');
});

test('a window of another model is refused as by one that is not ready, before the engine sees it', async (context) => {
  const { engine, url } = await serve(context);
  const info = { name: 'another', multilingual: false, languages: ['en'] };
  const post = (model: string) => {
    const body = encodeWindow(REQUEST, { timeoutMs: 1000, model, caller: 'c' });
    return request(`${url}/asr/windows`, { method: 'POST', body, headers: { 'content-type': 'application/msgpack' } });
  };
  const refused = await post(info.name);
  assert.equal(refused.statusCode, 503);
  assert.equal(((await refused.body.json()) as { error: { code: string } }).error.code, 'not_ready');
  assert.equal(engine.requests.length, 0);
  assert.equal((await post(engine.info.name)).statusCode, 200);
});

test('a replica counts who sends it windows or asks for its load', async (context) => {
  const { remote, url } = await serve(context);
  assert.equal(remote.load().callers, 1);
  await connect(context, url);
  await remote.transcribe(REQUEST);
  assert.equal(remote.load().callers, 2);
});

test('whoever closes the connection has its window cancelled', async (context) => {
  let aborted = 0;
  const { engine, remote, seen } = await serve(context, { before: holdUntilAborted(() => aborted++) });
  const controller = new AbortController();
  const doomed = remote.transcribe(REQUEST, controller.signal);
  await until(() => engine.requests.length === 1);
  controller.abort();
  await assert.rejects(doomed, isError('cancelled'));
  await until(() => aborted === 1 && seen.length === 1);
  assert.equal(seen[0]?.outcome, 'cancelled');
});

test('the engine gives up by itself when the sender has', async (context) => {
  let aborted = 0;
  const { remote } = await serve(context, { before: holdUntilAborted(() => aborted++) }, { giveUpSeconds: { final: 0.05 } });
  await assert.rejects(remote.transcribe(REQUEST), isError('unavailable'));
  await until(() => aborted === 1);
});

test('there is a bound on what is out', async (context) => {
  const { engine, remote } = await serve(context, { before: holdUntilAborted(() => undefined) }, { maxOut: 2 });
  const controller = new AbortController();
  const held = [remote.transcribe(REQUEST, controller.signal), remote.transcribe(REQUEST, controller.signal)];
  await assert.rejects(remote.transcribe(REQUEST), isError('overloaded'));
  await until(() => engine.requests.length === 2);
  controller.abort();
  for (const promise of held) await assert.rejects(promise, isError('cancelled'));
});

test('the load shows a final that does not come back', async (context) => {
  const { remote } = await serve(context, { before: holdUntilAborted(() => undefined) });
  const controller = new AbortController();
  const held = remote.transcribe(REQUEST, controller.signal);
  await until(() => remote.load().finalDelaySeconds > 0.05);
  controller.abort();
  await assert.rejects(held);
  await until(() => remote.load().finalDelaySeconds === 0);
});

test('it waits for a service that is not there yet, and says so once', async (context) => {
  const socketPath = join(folder, `${sockets++}.sock`);
  const told: string[] = [];
  const connecting = connectRemoteTranscriber({ url: `unix:${socketPath}` }, NEVER, (message) => told.push(message));
  await until(() => told.length === 1);
  const engine = createScriptedTranscriber(SPOKEN);
  const server = await createAsrServer({ transcriber: engine, registry: new Registry(), address: { socketPath } });
  context.after(() => server.close());
  const remote = await connecting;
  await remote.close();
  assert.deepEqual(told.length, 1);
  assert.match(told[0] ?? '', /Waiting for the speech recogniser: it cannot be reached \(ENOENT\)/);
});

test('an address that is none is refused, and an abort ends the waiting', async () => {
  for (const url of ['', 'unix:', 'localhost:8000', 'ftp://host', 'http://host/path']) {
    await assert.rejects(connectRemoteTranscriber({ url }, NEVER), isError('invalid_parameter'));
  }
  const stop = new AbortController();
  const connecting = connectRemoteTranscriber({ url: `unix:${join(folder, 'nobody')}` }, stop.signal, () => stop.abort());
  await assert.rejects(connecting, { name: 'AbortError' });
});

test('the service refuses what is no window, is not ready before its engine, and says so when it closes', async (context) => {
  const { url } = await serve(context);
  const post = (body: string | Buffer, type = 'application/msgpack') =>
    request(`${url}/asr/windows`, { method: 'POST', body, headers: { 'content-type': type } });
  assert.equal((await post('x')).statusCode, 400);
  assert.equal((await post('x', 'text/plain')).statusCode, 415);
  assert.equal((await post(Buffer.alloc(5 * 1024 * 1024))).statusCode, 413);
  assert.equal((await request(`${url}/asr/windows`)).statusCode, 405);
  assert.equal((await request(`${url}/nothing`)).statusCode, 404);
  assert.deepEqual(await (await request(`${url}/ready`)).body.json(), { status: 'ready', model: 'scripted' });
  assert.match(await (await request(`${url}/metrics`)).body.text(), /whisper_http_requests_total\{route="\/asr\/windows",status="400"\} 1/);

  const loading = await createAsrServer({
    transcriber: new Promise(() => undefined),
    registry: new Registry(),
    address: { host: '127.0.0.1', port: 0 },
  });
  const waiting = `http://127.0.0.1:${loading.port}`;
  assert.equal((await request(`${waiting}/health`)).statusCode, 200);
  for (const path of ['/ready', '/asr']) assert.equal((await request(waiting + path)).statusCode, 503);
  await loading.close();
  await assert.rejects(request(`${waiting}/health`));
});

test('closing lets windows finish, and cuts them off at the deadline', async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const open = async (before: (request: unknown, signal?: AbortSignal) => Promise<void>) => {
    const engine = createScriptedTranscriber(SPOKEN, { before });
    const server = await createAsrServer({ transcriber: engine, registry: new Registry(), address: { host: '127.0.0.1', port: 0 } });
    const remote = await connectRemoteTranscriber({ url: `http://127.0.0.1:${server.port}`, giveUpSeconds: { final: 1 } }, NEVER);
    const answer = remote.transcribe(REQUEST);
    await until(() => engine.requests.length === 1);
    return { server, remote, answer };
  };
  const patient = await open(() => gate);
  const closing = patient.server.close();
  release();
  assert.deepEqual(await patient.answer, hear(SPOKEN, REQUEST));
  await closing;
  await patient.remote.close();

  const hasty = await open(holdUntilAborted(() => undefined));
  const refused = assert.rejects(hasty.answer);
  await hasty.server.close({ deadlineMs: 20 });
  await refused;
  await hasty.remote.close();
});

test('metrics tell what came of windows and what the way cost', async (context) => {
  const registry = new Registry();
  let remote: RemoteTranscriber | undefined;
  const listeners = createRemoteMetrics(registry, () => remote?.replicaCount() ?? 0);
  ({ remote } = await serve(context, {}, listeners));
  await remote.transcribe(REQUEST);
  const text = await registry.metrics();
  assert.match(text, /whisper_remote_windows_total\{priority="final",outcome="done"\} 1/);
  assert.match(text, /whisper_remote_hop_seconds_count 1/);
  assert.match(text, /whisper_remote_replicas 1/);
});

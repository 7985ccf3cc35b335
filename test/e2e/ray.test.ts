// The service on a real Ray, started as a user starts it: the same text as in one process, replicas that come, go and are killed.
//
// One Ray for the file: its tests build on one another. In float32 a window's text does not depend on its company, so texts are compared whole.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { parse, stringify } from 'yaml';
import { ServeApi } from '../../src/cli/ray/serve-api.ts';
import type { ServerMessage } from '../../src/protocol/stream-messages.ts';
import { testClips } from '../audio.ts';
import { commandLine, descendants, hasEnded } from '../processes.ts';
import { testPython } from '../ray-environment.ts';
import { openStream, until } from '../server-harness.ts';
import { ON_RAY, ServerProcess } from '../server-process.ts';
import { type StreamOutcome, streamAudio } from '../stream-audio.ts';
import { readWav } from '../wav.ts';

const MODEL = ['--model', 'tiny.en', '--precision', 'float32', '--engines', '1'];
const PORTS = { service: 8088, ray: 6389, dashboard: 8275, metrics: 8089 };
const ASR = 'WhisperASR';
const SERVER = 'TranscriptionServer';
const ONE_ENGINE_TARGET = 1.2;
const CHANGE_MS = 60_000;
/** Longer than a replica takes to notice that it is to go: three silent health checks, and a second look. */
const DRAIN_SECONDS = 10;
const LEAST_NOTICE_SECONDS = 2;
const MOST_NOTICE_SECONDS = 20;
/** Times that the sentences are said. */
const ROUNDS = 5;
/** Times the speed of speech: a stream so far ahead gets its full search whatever the load, so its text depends on nothing but its audio. */
const PACE = 4;
const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

const api = new ServeApi(`http://127.0.0.1:${PORTS.dashboard}`, {});
let folder: string;
let config: { applications: { name: string; args?: { server?: object }; deployments: Deployment[] }[] };
let embedded: ServerProcess;
let onRay: ServerProcess;
let speech: { readonly bytes: Uint8Array; readonly config: Readonly<Record<string, unknown>>; readonly seconds: number };
let expected: StreamOutcome;

interface Deployment {
  name: string;
  autoscaling_config?: Record<string, unknown>;
  [key: string]: unknown;
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ray-'));
  speech = await joinedSpeech();
  embedded = await ServerProcess.start({ args: MODEL });
  expected = await streamAudio(embedded.streamUrl, speech.bytes, { config: speech.config });
  config = hasty(parse(readFileSync(at('deploy/serve.yaml'), 'utf8')));
  const file = join(folder, 'serve.yaml');
  await writeFile(file, stringify(config));
  const ports = ['--port', PORTS.service, '--ray-port', PORTS.ray, '--dashboard-port', PORTS.dashboard, '--metrics-port', PORTS.metrics];
  const replicas = ['--gpus', 2, '--gpus-per-replica', 1, '--asr-replicas', '1:2', '--server-replicas', 1];
  onRay = await ServerProcess.start({
    entry: 'start',
    ...ON_RAY,
    args: [...MODEL, '--config', file, ...ports, ...replicas, '--venv', (await testPython()).folder].map(String),
  });
});

after(async () => {
  await onRay?.stop('SIGKILL');
  await embedded?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** The project's own configuration, but in a hurry, and without admission: under the load that makes it scale newcomers would be refused. */
function hasty(from: typeof config): typeof config {
  const [application] = from.applications;
  assert.ok(application?.args?.server !== undefined);
  application.args.server = { ...application.args.server, drain_seconds: DRAIN_SECONDS, admit_all: true };
  for (const deployment of application.deployments) {
    deployment.health_check_period_s = 1;
    const { autoscaling_config: scaling } = deployment;
    if (scaling === undefined) continue;
    Object.assign(scaling, { upscale_delay_s: 1, downscale_delay_s: 3, metrics_interval_s: 0.5, look_back_period_s: 2 });
    // two engines in the file, one here: one stream at a time shall ask for no second recogniser, four shall
    if (deployment.name === ASR) scaling.target_ongoing_requests = 2 * ONE_ENGINE_TARGET;
  }
  return from;
}

/** Some sentences with pauses between them. */
async function joinedSpeech(): Promise<typeof speech> {
  const parts: Float32Array[] = [];
  let rate = 0;
  const clips = (await testClips()).filter(({ language }) => language === 'en');
  for (const clip of Array.from({ length: ROUNDS }, () => clips).flat()) {
    const { pcm, sampleRate } = await readWav(clip.file);
    if (rate !== 0 && sampleRate !== rate) continue;
    rate = sampleRate;
    parts.push(pcm, new Float32Array(Math.round(0.6 * sampleRate)));
  }
  const bytes = Buffer.concat(parts.map(({ buffer, byteLength, byteOffset }) => Buffer.from(buffer, byteOffset, byteLength)));
  return {
    bytes,
    config: { language: 'en', encoding: 'pcm_f32le', sample_rate: rate, word_timestamps: true },
    seconds: bytes.length / 4 / rate,
  };
}

/** Streams the speech at some times its speed, whatever its sample format. */
function stream(pace: number, onMessage?: (message: ServerMessage) => void): Promise<StreamOutcome> {
  // streamAudio paces 32,000 bytes a second
  const bytesPace = (pace * (speech.bytes.length / speech.seconds)) / 32_000;
  return streamAudio(onRay.streamUrl, speech.bytes, { config: speech.config, pace: bytesPace, ...(onMessage && { onMessage }) });
}

function assertWhole(outcome: StreamOutcome): void {
  assert.equal(outcome.text, expected.text);
  assert.deepEqual(
    outcome.words.map(({ word }) => word),
    expected.words.map(({ word }) => word),
  );
  assert.equal(outcome.closeCode, 1000);
  assertCovered(outcome.messages, speech.seconds);
}

/** Finals and spans without speech cover the audio from its start, in order, without gap or overlap. */
function assertCovered(messages: readonly ServerMessage[], seconds: number): void {
  let covered = 0;
  for (const message of messages) {
    if (message.type !== 'no_speech' && !(message.type === 'transcript' && message.is_final)) continue;
    assert.ok(Math.abs(message.start - covered) < 0.002, `from ${message.start} after ${covered}`);
    covered = message.end;
  }
  assert.ok(Math.abs(covered - seconds) < 0.1, `${covered} of ${seconds} s are covered`);
}

async function replicas(deployment: string): Promise<{ readonly id: string; readonly pid: number }[]> {
  const { applications } = await api.details();
  const found = Object.values(applications)[0]?.deployments[deployment]?.replicas ?? [];
  return found.flatMap(({ pid, replica_id, state }) => (state === 'RUNNING' && pid !== null ? [{ id: replica_id, pid }] : []));
}

const onlyReplica = async (deployment: string) => {
  const [replica, ...others] = await replicas(deployment);
  assert.ok(replica !== undefined && others.length === 0, `one replica of ${deployment}, and ${others.length} more`);
  return replica;
};

const childOf = (pid: number): number => {
  const child = descendants(pid).find((candidate) => commandLine(candidate).includes('launch.cjs'));
  assert.ok(child !== undefined, `no child of ${pid}`);
  return child;
};

/** Streams, kills when the second final is there; says how long nothing came then. */
async function streamThroughKill(context: TestContext, what: string, victim: () => Promise<number>): Promise<void> {
  let finals = 0;
  let killedMs = 0;
  let heardMs: number | null = null;
  const outcome = await stream(PACE, (message) => {
    if (message.type !== 'transcript' || !message.is_final) return;
    finals++;
    if (killedMs > 0) heardMs ??= performance.now();
    if (finals === 2) {
      void victim().then((pid) => {
        process.kill(pid, 'SIGKILL');
        killedMs = performance.now();
      });
    }
  });
  assert.ok(killedMs > 0 && heardMs !== null, 'the kill came in the middle of the stream');
  context.diagnostic(`${what} killed: the next final came ${((heardMs - killedMs) / 1000).toFixed(1)} s later`);
  assertWhole(outcome);
}

test('REST gives the same transcript as in one process', async () => {
  const body = new Uint8Array(await readFile(at('docs/speech.ogg')));
  const ask = async (url: string): Promise<{ text: string }> => {
    const response = await fetch(`${url}/transcribe?word_timestamps=true`, { method: 'POST', body });
    assert.equal(response.status, 200);
    return (await response.json()) as { text: string };
  };
  const transcript = await ask(onRay.url);
  assert.match(transcript.text, /\w+ \w+/);
  assert.deepEqual(transcript, await ask(embedded.url));
});

test('a live stream gives the same events as in one process', async () => {
  const outcome = await stream(Infinity);
  assertWhole(outcome);
  const timeless = ({ messages }: StreamOutcome) => messages.map((message) => ({ ...message, lag: 0, session_id: '' }));
  assert.deepEqual(timeless(outcome), timeless(expected));
});

test('page, status and refusals come through as they are', async () => {
  assert.match(await (await fetch(onRay.url)).text(), /<title>/);
  assert.deepEqual(await (await fetch(`${onRay.url}/ready`)).json(), { status: 'ready', model: 'tiny.en' });
  const bad = await fetch(`${onRay.url}/transcribe?language=xx`, { method: 'POST', body: new Uint8Array(1) });
  assert.equal(bad.status, 400);
  assert.equal(((await bad.json()) as { error: { code: string } }).error.code, 'invalid_parameter');
  const client = await openStream(onRay.streamUrl);
  client.send({ chunk_duration: 99 });
  assert.equal((await client.waitFor('error')).code, 'invalid_config');
  assert.deepEqual(await client.closed, { code: 1007, reason: 'invalid_config' });
  await assert.rejects(openStream(onRay.streamUrl.replace('/stream', '/nothing')));
});

test("the service's metrics are among Ray's", async () => {
  const wanted = [
    'ray_whisper_engine_windows_total',
    'ray_whisper_stream_final_lag_seconds_bucket',
    'ray_whisper_remote_hop_seconds_count',
  ];
  await until(async () => {
    const text = await readRayMetrics();
    return wanted.every((name) => text.includes(`${name}{`));
  }, CHANGE_MS);
  const line = (await readRayMetrics()).split('\n').find((candidate) => candidate.startsWith('ray_whisper_remote_windows_total{'));
  assert.match(line ?? '', /deployment="TranscriptionServer"/);
});

const readRayMetrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${PORTS.metrics}/metrics`)).text();

/** Windows that each recogniser has answered so far, by its replica; one that has answered none is not there. */
async function windowsDone(): Promise<ReadonlyMap<string, number>> {
  const done = new Map<string, number>();
  for (const line of (await readRayMetrics()).split('\n')) {
    const [, labels = '', value = ''] = /^ray_whisper_engine_windows_total\{(.*)\} (\S+)$/.exec(line) ?? [];
    const [, replica] = /(?:^|,)replica="([^"]*)"/.exec(labels) ?? [];
    if (replica !== undefined && labels.includes('outcome="done"')) done.set(replica, (done.get(replica) ?? 0) + Number(value));
  }
  return done;
}

test('under load a second recogniser comes, takes its share, and goes again; no word is lost', async (context) => {
  const startMs = performance.now();
  let hasEnough = false;
  const load = Array.from({ length: 4 }, async () => {
    const outcomes: StreamOutcome[] = [];
    while (!hasEnough) outcomes.push(await stream(Infinity));
    return outcomes;
  });
  try {
    await until(async () => (await replicas(ASR)).length === 2, CHANGE_MS);
    context.diagnostic(`second recogniser ${((performance.now() - startMs) / 1000).toFixed(1)} s after the load began`);
    const recognisers = await replicas(ASR);
    const before = await windowsDone();
    let now = before;
    const growth = ({ id }: { id: string }): number => (now.get(id) ?? 0) - (before.get(id) ?? 0);
    await until(async () => {
      now = await windowsDone();
      return recognisers.every((replica) => growth(replica) > 0);
    }, CHANGE_MS);
    context.diagnostic(`windows of the two since then: ${recognisers.map(growth).join(' and ')}`);
    assert.match(await (await fetch(`${onRay.url}/metrics`)).text(), /^whisper_remote_replicas 2$/m);
  } finally {
    hasEnough = true;
  }
  const outcomes = (await Promise.all(load)).flat();
  assert.ok(outcomes.length >= 4);
  for (const outcome of outcomes) assertWhole(outcome);
  await until(async () => (await replicas(ASR)).length === 1, CHANGE_MS);
  assertWhole(await stream(Infinity));
});

test("a recogniser's Node process is killed in the middle of a stream: no word is lost or doubled", async (context) => {
  const replica = await onlyReplica(ASR);
  await streamThroughKill(context, "recogniser's child", async () => childOf(replica.pid));
  assert.notEqual((await onlyReplica(ASR)).id, replica.id, 'Ray has replaced the whole replica');
});

test('a recogniser is killed in the middle of a stream: no word is lost or doubled, and its child is gone', async (context) => {
  const replica = await onlyReplica(ASR);
  const child = childOf(replica.pid);
  await streamThroughKill(context, 'recogniser', async () => replica.pid);
  assert.ok(hasEnded(child));
});

test('a transcription server is killed: its streams break off at once, what was final stays, and the next stream is served', async (context) => {
  const replica = await onlyReplica(SERVER);
  const child = childOf(replica.pid);
  let killedMs = 0;
  const broken = await stream(PACE, (message) => {
    if (killedMs > 0 || message.type !== 'transcript' || !message.is_final) return;
    killedMs = performance.now();
    process.kill(replica.pid, 'SIGKILL');
  });
  const brokeMs = performance.now();
  assert.ok([1006, 1011].includes(broken.closeCode), `closed with ${broken.closeCode}`);
  assert.ok(expected.text.startsWith(broken.text) && broken.text.length > 0);
  let outcome: StreamOutcome | null = null;
  await until(async () => {
    outcome = await stream(Infinity).catch(() => null);
    return outcome?.closeCode === 1000;
  }, CHANGE_MS);
  context.diagnostic(
    `server killed: its stream broke off after ${((brokeMs - killedMs) / 1000).toFixed(1)} s, a new one was through after ${((performance.now() - killedMs) / 1000).toFixed(1)} s`,
  );
  assertWhole(outcome!);
  assert.ok(hasEnded(child));
});

test('a transcription server that is replaced lets its streams go on for a while, then sends their finals and going_away', async (context) => {
  const client = await openStream(onRay.streamUrl);
  client.send(speech.config);
  const fiveSeconds = speech.bytes.subarray(0, Math.round((5.2 / speech.seconds) * speech.bytes.length) & ~3);
  client.send(fiveSeconds);
  await client.waitFor('transcript');
  const startMs = performance.now();
  const sentSeconds = fiveSeconds.length / (speech.bytes.length / speech.seconds);
  await redeploy({ server: { ...config.applications[0]?.args?.server, max_sessions: 99 } });
  const talking = setInterval(() => client.send({ type: 'keep_alive' }), 1000);
  await until(() => client.socket.readyState === WebSocket.CLOSED, CHANGE_MS).finally(() => clearInterval(talking));
  const { code, reason } = await client.closed;
  const openSeconds = (performance.now() - startMs) / 1000;
  context.diagnostic(`closed with ${code} ${openSeconds.toFixed(1)} s after the deployment was changed`);
  assert.deepEqual({ code, reason }, { code: 1001, reason: 'going_away' });
  assert.equal(client.messages.at(-1)?.type, 'going_away');
  assert.ok(openSeconds > DRAIN_SECONDS + LEAST_NOTICE_SECONDS, `it could go on for ${openSeconds} s`);
  assert.ok(openSeconds < DRAIN_SECONDS + MOST_NOTICE_SECONDS, `it went on for ${openSeconds} s`);
  assertCovered(client.messages, sentSeconds);
  const text = client.messages.flatMap((message) => (message.type === 'transcript' && message.is_final ? [message.text] : [])).join(' ');
  // However the numbers are put together.
  assert.match(text, /^1\D*2.*10\W+hello\W+world\W*$/is, 'the finals of all that was sent');
});

/** Puts the running configuration back with other arguments: its replicas are replaced. */
async function redeploy(args: Record<string, unknown>): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${PORTS.dashboard}/api/serve/applications/`);
  const details = (await response.json()) as { applications: Record<string, { deployed_app_config: Record<string, unknown> }> };
  const [running] = Object.values(details.applications);
  const application = {
    ...running?.deployed_app_config,
    args: { ...(running?.deployed_app_config.args as object | undefined), ...args },
    // Serve does not show it
    runtime_env: { env_vars: { PYTHONPATH: at('python') } },
  };
  await api.deploy({ http_options: { host: '127.0.0.1', port: PORTS.service }, applications: [application] } as never);
}

test('it ends in order on SIGTERM, and nothing of it is left', async () => {
  const family = descendants(onRay.pid);
  assert.ok(family.length > 10);
  assert.equal(await onRay.stop(), 0);
  await until(() => family.every(hasEnded), CHANGE_MS);
  await assert.rejects(fetch(onRay.url));
});

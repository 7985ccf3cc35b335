// Bad input against the real service: each file gets the answer that the documents promise, the process lives, other streams go on.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { ERROR_CODES, type ErrorCode } from '../../src/core/errors.ts';
import { testClips } from '../audio.ts';
import { type BadFile, badFiles, type Expectation } from '../bad-files.ts';
import { openStream } from '../server-harness.ts';
import { ServerProcess } from '../server-process.ts';
import { type StreamOutcome, streamAudio } from '../stream-audio.ts';
import { encodeWav, joinWavs, readWav, type Wav } from '../wav.ts';

const corpus = fileURLToPath(new URL('../../../shared/corpus', import.meta.url));
const REFUSALS: readonly string[] = ['undecodable_audio', 'no_audio'];
/** Faster than speech, so that the test does not last as long as its audio; slow enough to be live all the while. */
const BYSTANDER_PACE = 4;
const WAV_HEADER_BYTES = 44;

let server: ServerProcess;
let speech: Wav;

before(async () => {
  const clips = await testClips();
  const english = await Promise.all(clips.filter(({ language }) => language === 'en').map(({ file }) => readWav(file)));
  speech = joinWavs(english, 0.5);
  server = await ServerProcess.start({ args: ['--model', 'tiny.en', '--engines', '2'] });
});

after(() => server?.stop());

const streamSpeech = (pace: number, repeats = 1): Promise<StreamOutcome> => {
  const once = encodeWav(speech).subarray(WAV_HEADER_BYTES);
  return streamAudio(server.streamUrl, Buffer.concat(Array.from({ length: repeats }, () => once)), { pace });
};

function assertTranscript(text: string, expect: Expectation): void {
  assert.notEqual(expect, 'reject', `was transcribed as "${text}"`);
  if (expect === 'empty-or-reject') assert.equal(text, '');
}

async function post({ bytes, expect }: BadFile): Promise<void> {
  const response = await fetch(`${server.url}/transcribe?language=en`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: new Uint8Array(bytes),
  });
  const body = (await response.json()) as { text: string; error?: { code: ErrorCode; message: string } };
  if (body.error === undefined) {
    assert.equal(response.status, 200);
    return assertTranscript(body.text, expect);
  }
  assert.ok(REFUSALS.includes(body.error.code), `refused with ${body.error.code}: ${body.error.message}`);
  assert.equal(response.status, ERROR_CODES[body.error.code].httpStatus);
  assert.deepEqual(Object.keys(body), ['error']);
  assert.deepEqual(Object.keys(body.error).sort(), ['code', 'message']);
}

async function stream({ bytes, expect }: BadFile): Promise<void> {
  const { messages, text, closeCode } = await streamAudio(server.streamUrl, bytes, { config: { encoding: 'container', language: 'en' } });
  const last = messages.at(-1);
  if (last?.type === 'end') {
    assert.equal(closeCode, 1000);
    assertTranscript(text, expect);
    return;
  }
  assert.equal(last?.type, 'error', `the last message was ${JSON.stringify(last)}, then close ${closeCode}`);
  if (last?.type !== 'error') return;
  assert.ok(REFUSALS.includes(last.code), `refused with ${last.code}: ${last.message}`);
  assert.equal(closeCode, ERROR_CODES[last.code].closeCode);
}

async function corpusFiles(): Promise<BadFile[]> {
  const lines = (await readFile(join(corpus, 'manifest.jsonl'), 'utf8')).split('\n').filter((line) => line !== '');
  const entries = lines.map((line) => JSON.parse(line) as { kind: string; file: string; expect: Expectation });
  const bad = entries.filter(({ kind }) => kind === 'bad');
  return Promise.all(bad.map(async ({ file, expect }) => ({ name: file, expect, bytes: await readFile(join(corpus, file)) })));
}

describe('bad files', () => {
  const checkAll = async (files: readonly BadFile[]): Promise<void> => {
    const alone = await streamSpeech(BYSTANDER_PACE, 2);
    assert.notEqual(alone.text, '');
    const bystander = streamSpeech(BYSTANDER_PACE, 2);
    const failures: string[] = [];
    for (const file of files) {
      for (const [route, send] of Object.entries({ '/transcribe': post, '/stream': stream })) {
        await send(file).catch((error: Error) => failures.push(`${route}, ${file.name} (${file.expect}): ${error.message}`));
        if (!server.alive) failures.push(`${route}, ${file.name}: the process ended`);
      }
    }
    assert.deepEqual(failures, []);
    const { text, closeCode } = await bystander;
    assert.equal(closeCode, 1000);
    assert.equal(text, alone.text, 'the stream beside the bad files heard something else');
  };

  test('are refused or read as far as they go, over both routes, while another stream goes on', async () => {
    await checkAll(badFiles(speech.pcm.subarray(0, 32_000)));
  });

  const skip = existsSync(corpus) ? false : 'needs ../shared/corpus';
  test('of the corpus get the answers that its manifest allows', { skip }, async () => checkAll(await corpusFiles()));
});

describe('bad messages', () => {
  const cases: readonly { readonly name: string; readonly send: readonly (string | Buffer)[]; readonly code: ErrorCode }[] = [
    { name: 'text that is not JSON', send: ['{'], code: 'invalid_json' },
    { name: 'JSON that is no object', send: ['[1]'], code: 'invalid_message' },
    { name: 'an unknown key', send: ['{"chunk_length":5}'], code: 'invalid_config' },
    { name: 'a key of the wrong type', send: ['{"chunk_duration":"5"}'], code: 'invalid_config' },
    { name: 'a value out of range', send: ['{"chunk_duration":0.5}'], code: 'invalid_config' },
    { name: 'an overlap over half the chunk', send: ['{"chunk_duration":2,"overlap":1.5}'], code: 'invalid_config' },
    { name: 'a language that there is not', send: ['{"language":"klingon"}'], code: 'invalid_config' },
    { name: 'an unknown message where audio belongs', send: ['{"language":"en"}', '{"type":"hello"}'], code: 'invalid_message' },
  ];
  for (const { name, send, code } of cases) {
    test(`${name} is answered with ${code} and its close code`, async () => {
      const client = await openStream(server.streamUrl);
      for (const message of send) client.send(message);
      assert.equal((await client.waitFor('error')).code, code);
      assert.equal((await client.closed).code, ERROR_CODES[code].closeCode);
      assert.ok(server.alive);
    });
  }

  test('half a sample at the end is refused, after all that came before it was said', async () => {
    const pcm = encodeWav(speech).subarray(WAV_HEADER_BYTES);
    const whole = await streamAudio(server.streamUrl, pcm, { config: { language: 'en' }, frameBytes: 3333 });
    assert.equal(whole.closeCode, 1000, 'frames may cut samples in two');
    const odd = await streamAudio(server.streamUrl, Buffer.concat([pcm, Buffer.from([7])]), {
      config: { language: 'en' },
      frameBytes: 3333,
    });
    assert.equal(odd.closeCode, ERROR_CODES.undecodable_audio.closeCode);
    assert.equal(odd.text, whole.text);
  });

  test('clients that vanish leave the service ready for the next', async () => {
    for (let count = 0; count < 10; count++) {
      const socket = new WebSocket(server.streamUrl);
      await new Promise((resolve, reject) => {
        socket.on('open', resolve);
        socket.on('error', reject);
      });
      socket.send(encodeWav(speech).subarray(WAV_HEADER_BYTES));
      socket.terminate();
    }
    const { closeCode, text } = await streamSpeech(Number.POSITIVE_INFINITY);
    assert.equal(closeCode, 1000);
    assert.notEqual(text, '');
  });
});

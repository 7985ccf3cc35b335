// The whole way once with nothing scripted: recorded speech over both paths into the real engine.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Registry } from 'prom-client';
import { defaultCacheDir } from '../../src/cli/environment.ts';
import { createTranscriber } from '../../src/engine/create.ts';
import type { Transcript } from '../../src/protocol/rest.ts';
import { createServer } from '../../src/server/server.ts';
import { testClips } from '../audio.ts';
import { testModelDir } from '../models.ts';
import { openStream } from '../server-harness.ts';
import { readWav } from '../wav.ts';

const modelDir = await testModelDir('tiny.en');
const graphsDir = join(process.env.WHISPER_CACHE || defaultCacheDir(), 'graphs');
const transcriber = await createTranscriber({ modelDir, modelName: 'tiny.en', graphsDir });
const server = await createServer({
  engine: { transcriber, speechDetector: null },
  registry: new Registry(),
  address: { host: '127.0.0.1', port: 0 },
});
after(async () => {
  await server.close({ deadlineMs: 2000 });
  await transcriber.close();
});

// Numbers are written as digits, so the longest sentence it is.
const english = (await testClips()).filter((candidate) => candidate.language === 'en' && !candidate.name.includes('counting'));
const clip = english.sort((a, b) => b.text.length - a.text.length)[0];
assert.ok(clip);
const file = await readFile(clip.file);
const wordsOf = (text: string): string[] => text.toLowerCase().match(/[a-z]+/g) ?? [];

/** Words that stand in both, over the words of the reference. */
function agreement(text: string): number {
  const heard = new Set(wordsOf(text));
  const said = wordsOf(clip!.text);
  return said.filter((word) => heard.has(word)).length / said.length;
}

test('a recorded sentence is transcribed over REST', async () => {
  const response = await fetch(`http://127.0.0.1:${server.port}/transcribe?language=en&word_timestamps=true`, {
    method: 'POST',
    body: new Uint8Array(file),
  });
  assert.equal(response.status, 200);
  const transcript = (await response.json()) as Transcript;
  assert.ok(agreement(transcript.text) > 0.8, transcript.text);
  assert.ok((transcript.segments[0]?.words?.length ?? 0) > 0);
});

test('the same sentence is transcribed over the socket, as PCM and as a container', async () => {
  const { sampleRate, pcm } = await readWav(clip.file);
  const bytes = Buffer.from(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  for (const [config, audio] of [
    [{ encoding: 'pcm_f32le', sample_rate: sampleRate, language: 'en' }, bytes],
    [{ encoding: 'container', language: 'en' }, file],
  ] as const) {
    const client = await openStream(`ws://127.0.0.1:${server.port}/stream`);
    client.send(config);
    for (let at = 0; at < audio.length; at += 32_000) client.send(audio.subarray(at, at + 32_000));
    client.send({ type: 'end' });
    const end = await client.waitFor('end');
    const text = client.messages.flatMap((message) => (message.type === 'transcript' ? [message.text] : [])).join(' ');
    assert.ok(agreement(text) > 0.8, text);
    assert.ok(Math.abs(end.audio_seconds - pcm.length / sampleRate) < 0.05);
  }
});

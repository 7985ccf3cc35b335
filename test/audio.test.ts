// The test audio arrives whole, also when several processes ask for it at once, and WAV files survive a round trip.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { testClip, testClips } from './audio.ts';
import { joinWavs, readWav, writeWav } from './wav.ts';

test('27 clips in nine languages, each with text and sound', async () => {
  const clips = await testClips();
  assert.equal(clips.length, 27);
  assert.deepEqual([...new Set(clips.map((clip) => clip.language))], ['en', 'es', 'fr', 'hi', 'it', 'ja', 'pl', 'pt', 'zh']);
  for (const clip of clips) {
    const { sampleRate, pcm } = await readWav(clip.file);
    assert.equal(sampleRate, 16_000);
    assert.ok(pcm.length > sampleRate / 2 && pcm.some((level) => Math.abs(level) > 0.05), clip.name);
    assert.ok(clip.text.length > 3, clip.name);
  }
});

test('processes that ask at the same time all get the clips', async () => {
  const source = `import { testClips } from ${JSON.stringify(new URL('audio.ts', import.meta.url).href)}; console.log((await testClips()).length);`;
  const ask = () => promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source]);
  const answers = await Promise.all([ask(), ask(), ask()]);
  assert.deepEqual(
    answers.map(({ stdout }) => stdout.trim()),
    ['27', '27', '27'],
  );
});

test('an unknown clip is named in the error', async () => {
  await assert.rejects(testClip('en/nothing'), /no clip en\/nothing; there are .*en\/counting/);
});

test('a WAV file that is written reads back as the same samples', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wav-'));
  try {
    const tone = Float32Array.from({ length: 1600 }, (_, index) => Math.sin(index / 10) * 0.5);
    const file = join(folder, 'tone.wav');
    await writeWav(file, joinWavs([{ sampleRate: 16_000, pcm: tone }], 0.1));
    const back = await readWav(file);
    assert.equal(back.pcm.length, 3200);
    for (let index = 0; index < tone.length; index++) assert.ok(Math.abs(back.pcm[index] - tone[index]) < 1e-4);
    assert.ok(back.pcm.subarray(1600).every((level) => level === 0));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

// Recorded sentences in nine languages through the default model: what it hears, and translation.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type TestClip, testClips } from '../../test/audio.ts';
import { TEST_THREADS, testGraphsDir } from '../../test/engine.ts';
import { testModelDir } from '../../test/models.ts';
import { readWav } from '../../test/wav.ts';
import { wordErrorRate } from '../../test/word-error-rate.ts';
import { createTranscriber } from './create.ts';
import type { TranscribeResult } from './transcriber.ts';

const graphsDir = testGraphsDir();
const transcriber = await createTranscriber({
  modelDir: await testModelDir('base'),
  modelName: 'base',
  graphsDir,
  threads: TEST_THREADS,
  // Some of these synthetic voices no attempt satisfies: sampling would only take time.
  rules: { temperatures: [] },
});
after(() => transcriber.close());
const clips = await testClips();

/** Sentences that `base` hears well, with the word error rate it may have; faster-whisper makes the same mistakes in the last two. */
const HEARD: Readonly<Record<string, number>> = {
  'en/counting': 0,
  'en/hello_world': 0,
  'en/quick_brown_fox': 0,
  'pt/contagem': 0.1,
  'pt/pangrama': 0.1,
  'ja/konnichiwa_sekai': 0,
  'fr/pangrama': 0.4,
  'it/pangrama': 0.5,
};

const textOf = ({ words }: TranscribeResult): string => words.map(({ text }) => text).join('');
const pcmOf = async ({ file }: TestClip): Promise<Float32Array> => (await readWav(file)).pcm;

test('27 clips in nine languages are there', () => {
  assert.equal(clips.length, 27);
  assert.deepEqual([...new Set(clips.map(({ language }) => language))], ['en', 'es', 'fr', 'hi', 'it', 'ja', 'pl', 'pt', 'zh']);
});

test('every clip is transcribed in its language, with words in order and inside the audio', async () => {
  const results = await Promise.all(
    clips.map(async (clip) => {
      const pcm = await pcmOf(clip);
      return { clip, pcm, result: await transcriber.transcribe({ pcm, language: clip.language }) };
    }),
  );
  for (const { clip, pcm, result } of results) {
    assert.equal(result.language, clip.language);
    assert.ok(result.words.length > 0, clip.name);
    let last = 0;
    for (const { start, end } of result.words) {
      assert.ok(last <= start && start <= end && end <= pcm.length, clip.name);
      last = end;
    }
    const most = HEARD[clip.name];
    if (most === undefined) continue;
    const rate = wordErrorRate(clip.text, textOf(result));
    assert.ok(rate <= most, `${clip.name}: word error rate ${rate}, "${textOf(result)}"`);
  }
});

test('French is translated to English', async () => {
  const clip = clips.find(({ name }) => name === 'fr/pangrama') as TestClip;
  const result = await transcriber.transcribe({ pcm: await pcmOf(clip), language: 'fr', task: 'translate' });
  assert.equal(result.language, 'fr');
  // "Portez ce vieux whisky au juge blond qui fume."
  assert.match(textOf(result), /old whiske?y/i);
  assert.match(textOf(result), /judge/i);
});

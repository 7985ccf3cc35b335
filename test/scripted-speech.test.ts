// The scripted Transcriber, which the tests of streaming and server lean on, keeps the rules of a real one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createScriptedTranscriber, layOut, synthesize, wordText } from './scripted-speech.ts';
import { transcriberConformance } from './transcriber-conformance.ts';

const words = layOut([1, 2, 3, 4, 5, 6].map((i) => ({ pause: 1000 * i, length: 4000 })));
const samples = 60_000;

transcriberConformance('the scripted transcriber', async () => ({
  transcriber: createScriptedTranscriber(words),
  pcm: synthesize(words, 0, samples),
  language: 'en',
  text: words.map((_, index) => wordText(index)).join(''),
}));

test('a word that the window cuts is misheard, as a real one would be', async () => {
  const transcriber = createScriptedTranscriber(words);
  const cut = (words[1]?.end as number) - 100;
  const { words: heard } = await transcriber.transcribe({ pcm: synthesize(words, 0, cut), language: 'en' });
  assert.deepEqual(
    heard.map(({ text }) => text),
    [wordText(0), ' cut1'],
  );
});

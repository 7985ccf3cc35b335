// The scripted Transcriber, which the tests of streaming and server lean on, keeps the rules of a real one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoadMeter } from '../src/engine/load-meter.ts';
import { createScriptedTranscriber, layOut, synthesize, wordText } from './scripted-speech.ts';
import { transcriberConformance } from './transcriber-conformance.ts';

const words = layOut([1, 2, 3, 4, 5, 6].map((i) => ({ pause: 1000 * i, length: 4000 })));
const samples = 60_000;

/** The script takes no time; a meter that is told of some shows that what it hears of is what it tells. */
function meteredTranscriber() {
  const meter = new LoadMeter(2, 0.15);
  const nowSeconds = (): number => performance.now() / 1000;
  const cost = { encodeMs: 1, decodeMs: 0, steps: 1, batchRows: 1, tokens: 1, draftTokens: 0, acceptedTokens: 0, attempts: 1 };
  return createScriptedTranscriber(words, {
    before({ priority = 'final' }) {
      meter.started(nowSeconds());
      meter.finished(priority, cost, 0.001, nowSeconds());
    },
    load: () => meter.load(nowSeconds(), 0),
  });
}

transcriberConformance('the scripted transcriber', async () => ({
  transcriber: meteredTranscriber(),
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

// Recorded speech through the engine of whole batches: the same results as from the engine that takes steps, in float32, to the last token.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { testClips } from '../../test/audio.ts';
import { TEST_THREADS, testGraphsDir, testSession } from '../../test/engine.ts';
import { readWav } from '../../test/wav.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import { buildWindowGraph } from '../model/build-graphs.ts';
import { BatchEngine } from './batch-engine.ts';
import { Engine } from './engine.ts';
import { DEFAULT_RULES } from './rules.ts';
import type { TranscribeRequest, TranscribeResult } from './transcriber.ts';
import { WindowSession } from './window-session.ts';

const { model, session, tokenizer } = await testSession('base', 'float32');
const { config, modelDir } = model;
const graph = await buildWindowGraph({ modelDir, config, precision: 'float32', graphsDir: testGraphsDir() });
const windows = await WindowSession.load(graph, config, 'cpu', TEST_THREADS);
// One temperature shows that drawing agrees; all of them would take minutes over voices that no attempt satisfies.
const rules = { ...DEFAULT_RULES, temperatures: [0.4] };
const stepped = new Engine(session, tokenizer, { rules, maxBatch: 4 });
const batched = new BatchEngine(windows, tokenizer, { rules, maxBatch: 8, maxPositions: 8 * config.maxAudioPositions });
after(() => Promise.all([stepped.close(), batched.close()]));

const clips = await Promise.all((await testClips()).map(async (clip) => ({ ...clip, pcm: (await readWav(clip.file)).pcm })));

const resultsOf = (engine: Engine | BatchEngine, requests: readonly TranscribeRequest[]): Promise<TranscribeResult[]> =>
  Promise.all(requests.map(async (request) => (await engine.submit(request).answer).result));

async function assertSameResults(requests: readonly TranscribeRequest[], what: (index: number) => string): Promise<TranscribeResult[]> {
  const [results, expected] = [await resultsOf(batched, requests), await resultsOf(stepped, requests)];
  for (const [i, result] of results.entries()) {
    const other = expected[i] as TranscribeResult;
    const said = ({ words }: TranscribeResult) => words.map(({ text, tokens, start, end }) => ({ text, tokens, start, end }));
    assert.deepEqual(said(result), said(other), what(i));
    assert.deepEqual([result.language, result.offset, result.temperature], [other.language, other.offset, other.temperature], what(i));
    for (const key of ['languageProbability', 'noSpeechProbability', 'averageLogProbability', 'compressionRatio'] as const)
      assert.ok(Math.abs(result[key] - other[key]) < 1e-3, `${what(i)}, ${key}: ${result[key]}, expected ${other[key]}`);
  }
  return results;
}

test('27 clips in nine languages: greedy, searched with beams, tried again, drawn; every other language is found', async () => {
  const requests = clips.map(({ pcm, language }, i) => ({ pcm, language: i % 2 === 0 ? null : language }));
  assert.equal(requests.length, 27);
  const results = await assertSameResults(requests, (i) => clips[i]?.name ?? '');
  assert.ok(results.filter(({ language }, i) => language === clips[i]?.language).length >= 20);
  // What every kind of attempt comes to was compared.
  assert.ok(results.some(({ temperature }) => temperature > 0));
});

test('windows behind words that are final, with prompts, and partials with drafts, which save nothing here', async () => {
  const english = clips.filter(({ language }) => language === 'en');
  const first = await resultsOf(
    stepped,
    english.map(({ pcm }) => ({ pcm, language: 'en' })),
  );
  const requests = english.flatMap(({ pcm }, i): TranscribeRequest[] => {
    const { words } = first[i] as TranscribeResult;
    const known = words.slice(0, words.length >> 1);
    const prefix = known.flatMap(({ tokens }) => [...tokens]);
    const prefixSamples = known.at(-1)?.end ?? 0;
    const draft = words.slice(words.length >> 1).flatMap(({ tokens }) => [...tokens]);
    return [
      { pcm, language: 'en', prefix, prefixSamples },
      { pcm, language: 'en', promptText: 'A sentence that came before.' },
      { pcm, language: 'en', prefix, prefixSamples, draft, priority: 'partial' },
      { pcm: pcm.subarray(0, SAMPLE_RATE >> 2), language: 'en' },
    ];
  });
  assert.ok(requests.length >= 12);
  await assertSameResults(requests, (i) => `${english[i >> 2]?.name}, ${i % 4}`);
});

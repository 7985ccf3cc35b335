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
import { DEFAULT_RULES, type DecodingRules } from './rules.ts';
import type { TranscribeRequest, TranscribeResult } from './transcriber.ts';
import { WindowSession } from './window-session.ts';
import type { Answer } from './work.ts';

const { model, session, tokenizer } = await testSession('base', 'float32');
const { config, modelDir } = model;
const graph = await buildWindowGraph({ modelDir, config, precision: 'float32', graphsDir: testGraphsDir() });
const windows = await WindowSession.load(graph, config, 'cpu', TEST_THREADS);
after(() => Promise.all([session.close(), windows.close()]));

const enginesWith = (rules: DecodingRules) => ({
  stepped: new Engine(session, tokenizer, { rules, maxBatch: 4 }),
  batched: new BatchEngine(windows, tokenizer, { rules, maxBatch: 8, maxPositions: 8 * config.maxAudioPositions }),
});
/** A device takes all positions. */
const RULES: DecodingRules = { ...DEFAULT_RULES, committedStride: 1, silenceStride: 1 };
const engines = enginesWith(RULES);

const clips = await Promise.all((await testClips()).map(async (clip) => ({ ...clip, pcm: (await readWav(clip.file)).pcm })));

const answersOf = (engine: Engine | BatchEngine, requests: readonly TranscribeRequest[]): Promise<Answer[]> =>
  Promise.all(requests.map((request) => engine.submit(request).answer));

async function assertSameResults(
  requests: readonly TranscribeRequest[],
  what: (index: number) => string,
  { batched, stepped } = engines,
): Promise<Answer[]> {
  const [answers, expected] = [await answersOf(batched, requests), await answersOf(stepped, requests)];
  for (const [i, { cost, result }] of answers.entries()) {
    const { cost: otherCost, result: other } = expected[i] as Answer;
    assert.equal(cost.attempts, otherCost.attempts, what(i));
    const said = ({ words }: TranscribeResult) => words.map(({ text, tokens, start, end }) => ({ text, tokens, start, end }));
    assert.deepEqual(said(result), said(other), what(i));
    // Not the temperature: where a drawn text is the greedy one, the last digit decides which of the two is kept.
    assert.deepEqual([result.language, result.offset], [other.language, other.offset], what(i));
    for (const key of ['languageProbability', 'noSpeechProbability', 'averageLogProbability', 'compressionRatio'] as const)
      assert.ok(Math.abs(result[key] - other[key]) < 1e-3, `${what(i)}, ${key}: ${result[key]}, expected ${other[key]}`);
  }
  return answers;
}

test('27 clips in nine languages: greedy, those in doubt searched with beams; every other language is found', async () => {
  const requests = clips.map(({ pcm, language }, i) => ({ pcm, language: i % 2 === 0 ? null : language }));
  assert.equal(requests.length, 27);
  const answers = await assertSameResults(requests, (i) => clips[i]?.name ?? '');
  assert.ok(answers.filter(({ result }, i) => result.language === clips[i]?.language).length >= 20);
  assert.ok(answers.some(({ cost }) => cost.attempts > 1));
});

test('where nothing is good enough, all attempts come to the same: padded to 30 s, with beams, drawn at temperatures', async () => {
  const insatiable = { ...RULES, logProbabilityThreshold: 0, noSpeechThreshold: 1, beams: 2, temperatures: [0.4, 0.8] };
  const requests = clips.filter(({ language }) => language === 'en').map(({ pcm }) => ({ pcm, language: 'en' }));
  const answers = await assertSameResults(requests, (i) => `English clip ${i}`, enginesWith(insatiable));
  for (const { cost } of answers) assert.equal(cost.attempts, 4);
});

test('windows behind words that are final, with prompts, and partials with drafts, which save nothing here', async () => {
  const english = clips.filter(({ language }) => language === 'en');
  const first = await answersOf(
    engines.stepped,
    english.map(({ pcm }) => ({ pcm, language: 'en' })),
  );
  const requests = english.flatMap(({ pcm }, i): TranscribeRequest[] => {
    const { words } = (first[i] as Answer).result;
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

// The decoding rules as tables: verdicts, the order of attempts, tokens and masks. The thresholds are the test's own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testModelDir } from '../../test/models.ts';
import { toyConfig } from '../../test/toy-model.ts';
import { readModelConfig } from '../model/config.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { MASKED } from './model-session.ts';
import {
  type Attempt,
  buildMasks,
  compressionRatio,
  DEFAULT_RULES,
  type DecodingRules,
  FIRST_ATTEMPT,
  judge,
  nextAttempt,
  type Quality,
  settledCount,
  startTokens,
  tokenLimit,
  type Verdict,
} from './rules.ts';

const RULES: DecodingRules = {
  marginSeconds: 2,
  committedStride: 3,
  silenceStride: 4,
  compressionRatioThreshold: 3,
  logProbabilityThreshold: -2,
  noSpeechThreshold: 0.5,
  beamThreshold: -1,
  beams: 4,
  settledProbability: 0.6,
  temperatures: [0.3, 0.9],
};
const GOOD: Quality = { ended: true, isEmpty: false, averageLogProbability: -0.5, compressionRatio: 1.5, noSpeechProbability: 0.1 };

test('a decode is judged by its end, likelihood, repetition and silence', () => {
  const table: readonly [Partial<Quality>, Verdict][] = [
    [{}, 'good'],
    [{ averageLogProbability: -1 }, 'good'],
    [{ averageLogProbability: -1.01 }, 'doubtful'],
    [{ averageLogProbability: -2 }, 'doubtful'],
    [{ isEmpty: true }, 'good'],
    [{ isEmpty: true, averageLogProbability: -0.51 }, 'doubtful'],
    [{ isEmpty: true, averageLogProbability: -2.01 }, 'bad'],
    [{ averageLogProbability: -2.01 }, 'bad'],
    [{ averageLogProbability: -2.01, noSpeechProbability: 0.5 }, 'bad'],
    [{ averageLogProbability: -2.01, noSpeechProbability: 0.51 }, 'no-speech'],
    [{ noSpeechProbability: 0.99 }, 'good'],
    [{ averageLogProbability: -1.5, noSpeechProbability: 0.99 }, 'doubtful'],
    [{ compressionRatio: 3 }, 'good'],
    [{ compressionRatio: 3.01 }, 'bad'],
    [{ ended: false }, 'bad'],
    [{ averageLogProbability: Number.NaN }, 'bad'],
    [{ averageLogProbability: Number.NaN, noSpeechProbability: Number.NaN }, 'bad'],
    [{ ended: false, averageLogProbability: -3, noSpeechProbability: 0.9 }, 'no-speech'],
  ];
  for (const [change, verdict] of table) assert.equal(judge({ ...GOOD, ...change }, RULES), verdict, JSON.stringify(change));
  assert.equal(judge({ ...GOOD, averageLogProbability: -0.001 }, { ...RULES, beamThreshold: 0 }), 'doubtful');
  assert.equal(judge({ ...GOOD, averageLogProbability: -1.99 }, { ...RULES, beamThreshold: -Infinity }), 'good');
});

/** All attempts of a window that is judged the same each time. */
function attempts(verdict: Verdict, hasPrefix: boolean, rules = RULES): Attempt[] {
  const tried = [FIRST_ATTEMPT];
  for (;;) {
    const next = nextAttempt(tried.at(-1) as Attempt, verdict, hasPrefix, rules);
    if (next === null) return tried;
    tried.push(next);
    assert.ok(tried.length < 20, 'attempts never end');
  }
}

test('a good decode is the last, a doubtful one is searched with beams once', () => {
  assert.deepEqual(attempts('good', true), [FIRST_ATTEMPT]);
  assert.deepEqual(attempts('no-speech', true), [FIRST_ATTEMPT]);
  assert.deepEqual(attempts('doubtful', true), [FIRST_ATTEMPT, { ...FIRST_ATTEMPT, beams: 4 }]);
  assert.deepEqual(attempts('doubtful', true, { ...RULES, beams: 1 }), [FIRST_ATTEMPT]);
  assert.equal(nextAttempt({ ...FIRST_ATTEMPT, temperature: 0.3 }, 'doubtful', false, RULES), null);
});

test('a bad decode loses its prefix, then gets the full pad with beams, then is sampled hotter and hotter', () => {
  const unforced = { withPrefix: false, fullPad: false, beams: 1, temperature: 0 };
  const padded = { withPrefix: false, fullPad: true, beams: 4, temperature: 0 };
  const sampled = RULES.temperatures.map((temperature) => ({ withPrefix: false, fullPad: true, beams: 1, temperature }));
  assert.deepEqual(attempts('bad', true), [FIRST_ATTEMPT, unforced, padded, ...sampled]);
  // Without a prefix there is none to lose.
  const kept = (attempt: Attempt): Attempt => ({ ...attempt, withPrefix: true });
  assert.deepEqual(attempts('bad', false), [FIRST_ATTEMPT, kept(padded), ...sampled.map(kept)]);
  assert.equal(attempts('bad', false, { ...RULES, temperatures: [] }).length, 2);
});

test('whatever the verdicts, attempts end, and no attempt comes twice', () => {
  const verdicts: readonly Verdict[] = ['doubtful', 'bad'];
  const follow = (tried: readonly Attempt[], hasPrefix: boolean): void => {
    assert.equal(new Set(tried.map((attempt) => JSON.stringify(attempt))).size, tried.length, JSON.stringify(tried));
    for (const verdict of verdicts) {
      const next = nextAttempt(tried.at(-1) as Attempt, verdict, hasPrefix, DEFAULT_RULES);
      if (next !== null) follow([...tried, next], hasPrefix);
    }
  };
  follow([FIRST_ATTEMPT], true);
  follow([FIRST_ATTEMPT], false);
});

test('the compression ratio tells repetition from speech; short texts are left alone', () => {
  assert.equal(compressionRatio(''), 0);
  assert.equal(compressionRatio('no no no no no no'), 0);
  assert.ok(compressionRatio('the same words again '.repeat(10)) > 5);
  assert.ok(compressionRatio('The quick brown fox jumps over the lazy dog, and then goes home to sleep.') < 1.3);
  // Bytes are counted, as deflate sees them: 30 letters of two bytes each.
  assert.ok(Math.abs(compressionRatio('ж'.repeat(30)) - 60 / 12) < 1.5);
});

test('the limit of tokens grows with the audio and ends at half the context', () => {
  assert.ok(tokenLimit(0) >= 1);
  for (let seconds = 1; seconds <= 30; seconds++) assert.ok(tokenLimit(seconds) >= tokenLimit(seconds - 1));
  // Fast speech has about 5 words a second, and a word 1 to 2 tokens.
  assert.ok(tokenLimit(5) > 50);
  assert.equal(tokenLimit(30), 224);
});

test('start tokens name language and task for multilingual models only', async () => {
  const multilingual = await loadTokenizer(await testModelDir('base'), { multilingual: true });
  assert.deepEqual(startTokens(multilingual, 'en', 'transcribe'), [50_258, 50_259, 50_359, 50_363]);
  assert.deepEqual(startTokens(multilingual, 'de', 'translate'), [50_258, 50_261, 50_358, 50_363]);
  const english = await loadTokenizer(await testModelDir('tiny.en'), { multilingual: false });
  assert.deepEqual(startTokens(english, 'en', 'transcribe'), [50_257, 50_362]);
});

test('the masks leave text and the end; a text cannot begin with what the model forbids', async () => {
  for (const name of ['base', 'tiny.en'] as const) {
    const dir = await testModelDir(name);
    const config = await readModelConfig(dir);
    const tokenizer = await loadTokenizer(dir, { multilingual: config.multilingual });
    const { special } = tokenizer;
    const { mask, firstMask } = buildMasks(config, tokenizer);
    assert.equal(mask.length, config.vocabularySize);
    const allowed = (of: Float32Array): number[] => [...of.keys()].filter((token) => of[token] === 0);
    assert.deepEqual(allowed(mask).at(-1), special.endOfText);
    for (const values of [mask, firstMask]) for (const value of values) assert.ok(value === 0 || value === Math.fround(MASKED));
    for (const token of config.suppressTokens) assert.equal(mask[token], Math.fround(MASKED));
    const forbidden = allowed(mask).filter((token) => firstMask[token] !== 0);
    // A lone space and, unless the configuration leaves it, the end.
    assert.ok(forbidden.includes(tokenizer.encode(' ')[0] as number));
    assert.deepEqual(
      forbidden,
      config.beginSuppressTokens.filter((token) => mask[token] === 0).toSorted((a, b) => a - b),
    );
    assert.ok(allowed(mask).length > 50_000);
  }
});

test('an end of text that the configuration suppresses stays possible: a decode has to end', async () => {
  const tokenizer = await loadTokenizer(await testModelDir('tiny.en'), { multilingual: false });
  const config = toyConfig({ width: 128, vocabularySize: 51_864, suppressTokens: [5, tokenizer.special.endOfText] });
  const { mask } = buildMasks(config, tokenizer);
  assert.equal(mask[tokenizer.special.endOfText], 0);
  assert.equal(mask[5], Math.fround(MASKED));
});

test('a search keeps the tokens before the first doubtful one; without a doubtful one, or at 1, it keeps none', () => {
  const logs = (...probabilities: number[]): number[] => probabilities.map(Math.log);
  assert.equal(settledCount(logs(0.9, 0.7, 0.5, 0.9), RULES), 2);
  assert.equal(settledCount(logs(0.5, 0.9), RULES), 0);
  assert.equal(settledCount(logs(0.9, 0.9), RULES), 0);
  assert.equal(settledCount([], RULES), 0);
  assert.equal(settledCount(logs(1, 0.9, 0.5), { ...RULES, settledProbability: 1 }), 0);
});

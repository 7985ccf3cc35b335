// The decoder's loop inside the graph equals the loop outside of it: greedy, beams, sampling, kept tokens, limits, windows of many lengths.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { decodeTogether } from '../../test/decode-batch.ts';
import { cosine, TEST_THREADS } from '../../test/engine.ts';
import { fakeWeights, toyConfig } from '../../test/toy-model.ts';
import { writeDecoderGraph } from '../model/decoder-graph.ts';
import { writeEncoderGraph } from '../model/encoder-graph.ts';
import type { AttentionForm, Precision } from '../model/graph-layers.ts';
import { writeWindowGraph } from '../model/window-graph.ts';
import type { DecodedText, DecodeJob } from './decode.ts';
import { MASKED, ModelSession } from './model-session.ts';
import { SAMPLES_PER_POSITION } from './positions.ts';
import { seededRandom } from './sampling.ts';
import { WindowSession } from './window-session.ts';

const root = mkdtempSync(join(tmpdir(), 'windows-'));
after(() => rmSync(root, { recursive: true }));

/** Alignment heads in both layers. */
const config = toyConfig({
  width: 192,
  alignmentHeads: [
    [0, 1],
    [1, 0],
    [1, 2],
  ],
});
const weights = fakeWeights(config, 'random');

async function windowSession(precision: Precision, attention: AttentionForm = 'fused'): Promise<WindowSession> {
  const path = join(root, `${precision}-${attention}.onnx`);
  writeWindowGraph(path, weights, config, precision, attention);
  return WindowSession.load(path, config, 'cpu', TEST_THREADS);
}

async function steppedSession(precision: Precision): Promise<ModelSession> {
  const files = { encoder: join(root, `encoder-${precision}.onnx`), decoder: join(root, `decoder-${precision}.onnx`) };
  writeEncoderGraph(files.encoder, weights, config, precision);
  writeDecoderGraph(files.decoder, weights, config, precision);
  return ModelSession.load(files, config, TEST_THREADS);
}

const stepped = await steppedSession('float32');
const loop = await windowSession('float32');
after(() => Promise.all([stepped.close(), loop.close()]));

const VOCABULARY = config.vocabularySize;
const NO_SPEECH = 299;
/** No token of the vocabulary: texts run to their limit. */
const NEVER = -1;
const mask = new Float32Array(VOCABULARY);
const firstMask = new Float32Array(VOCABULARY);
for (let token = 0; token < VOCABULARY; token += 3) firstMask[token] = MASKED;
for (let token = 1; token < VOCABULARY; token += 7) mask[token] = MASKED;

/** Sound, and two seconds of silence, as the engine's windows have. */
function windowOf(positions: number, pitch: number): Float32Array {
  const pcm = new Float32Array((positions + 100) * SAMPLES_PER_POSITION);
  for (let i = 0; i < positions * SAMPLES_PER_POSITION; i++) pcm[i] = 0.3 * Math.sin(i * (pitch + i * 1e-6));
  return pcm;
}

interface ToyWindow {
  readonly pcm: Float32Array;
  readonly initial: readonly number[];
  readonly startIndex: number;
}

/** Of different lengths, behind different numbers of forced tokens: all but one are padded, in both directions. */
const WINDOWS: readonly ToyWindow[] = [
  { pcm: windowOf(60, 0.05), initial: [7], startIndex: 0 },
  { pcm: windowOf(100, 0.11), initial: [31, 250, 7, 12, 90], startIndex: 2 },
  { pcm: windowOf(25, 0.31), initial: [7, 45, 46], startIndex: 0 },
  { pcm: windowOf(80, 0.21), initial: [250, 7, 45], startIndex: 1 },
];

function jobOf(w: number, change: Partial<DecodeJob>): DecodeJob {
  const { initial, startIndex } = WINDOWS[w] as ToyWindow;
  const random = seededRandom(w);
  return {
    initial,
    startIndex,
    alignIndex: startIndex,
    mask,
    firstMask,
    limit: 12,
    temperature: 0,
    random,
    cancelled: () => false,
    ...change,
  };
}

interface Run {
  readonly beams?: number;
  readonly endOfText?: number;
  readonly job?: (w: number) => Partial<DecodeJob>;
  readonly windows?: readonly number[];
}

const ALL = [0, 1, 2, 3];
const optionsOf = ({ beams = 1, endOfText = NEVER }: Run) => ({ beams, endOfText, noSpeech: NO_SPEECH });
const windowsOf = ({ job, windows = ALL }: Run) =>
  windows.map((w) => ({ pcm: (WINDOWS[w] as ToyWindow).pcm, job: jobOf(w, job?.(w) ?? {}) }));

const inGraph = (run: Run, session = loop) => session.decode(windowsOf(run), optionsOf(run));
/** Each window alone, a step at a time. */
async function outside(run: Run, session = stepped): Promise<DecodedText[]> {
  const texts: DecodedText[] = [];
  for (const window of windowsOf(run)) {
    const { texts: alone } = await decodeTogether(session, [window], optionsOf(run));
    texts.push(alone[0] as DecodedText);
  }
  return texts;
}

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs((actual[i] as number) - (expected[i] as number));
    assert.ok(difference < tolerance, `${what} ${i}: ${actual[i]}, expected ${expected[i]}`);
  }
}

function assertSame(actual: readonly DecodedText[], expected: readonly DecodedText[], what: string): void {
  assert.equal(actual.length, expected.length);
  for (const [w, text] of actual.entries()) {
    const other = expected[w] as DecodedText;
    const label = `${what}, window ${w}`;
    assert.deepEqual(text.tokens, other.tokens, label);
    assert.equal(text.ended, other.ended, label);
    assertClose(text.logProbabilities, other.logProbabilities, 1e-4, `${label}, log-probability`);
    assertClose([text.noSpeechProbability], [other.noSpeechProbability], 1e-5, `${label}, no speech`);
    assert.deepEqual([text.alignmentRows, text.positions], [other.alignmentRows, other.positions], label);
    assertClose(text.alignment, other.alignment, 1e-4, `${label}, alignment`);
  }
}

/** Tokens that texts contain somewhere: as ends of text they make hypotheses finish at different times. */
async function likelyEnds(): Promise<number[]> {
  const texts = await outside({ beams: 4 });
  return [...new Set(texts.flatMap(({ tokens }) => tokens.slice(1)))].slice(0, 8);
}

for (const beams of [1, 2, 5]) {
  test(`with ${beams} beams a batch of windows decodes as each does alone and step by step, whatever ends a text`, async () => {
    let ended = 0;
    for (const endOfText of [NEVER, ...(await likelyEnds())]) {
      const run = { beams, endOfText };
      const expected = await outside(run);
      assertSame((await inGraph(run)).texts, expected, `end ${endOfText}`);
      ended += expected.filter((text) => text.ended).length;
    }
    assert.ok(ended >= 4, `only ${ended} texts ended by themselves`);
  });
}

test('a batch stops when its last window is finished, and limits hold for each window', async () => {
  const run = { job: (w: number) => ({ limit: [3, 7, 1, 5][w] as number }) };
  const { steps, texts } = await inGraph(run);
  assert.equal(steps, 6);
  assert.deepEqual(
    texts.map(({ tokens }) => tokens.length),
    [3, 7, 1, 5],
  );
  assertSame(texts, await outside(run), 'limits');
  const [first] = texts as [DecodedText];
  const early = await inGraph({ endOfText: first.tokens[1] as number, windows: [0], job: () => ({ limit: 200 }) });
  assert.ok(early.steps <= 2, `${early.steps} steps after the end`);
});

test('one token takes no step at all', async () => {
  const run = { job: () => ({ limit: 1 }) };
  const { steps, texts } = await inGraph(run);
  assert.equal(steps, 0);
  assertSame(texts, await outside(run), 'one token');
});

test('tokens that are settled stay, with their log-probabilities, and the rest is searched behind them', async () => {
  const greedy = await outside({});
  const settled = (w: number) => {
    const { tokens, logProbabilities } = greedy[w] as DecodedText;
    return tokens.slice(0, w).map((token, i) => ({ token, logProbability: logProbabilities[i] as number }));
  };
  const run = { beams: 3, job: (w: number) => ({ settled: settled(w) }) };
  const { texts } = await inGraph(run);
  for (const w of ALL) assert.deepEqual(texts[w]?.tokens.slice(0, w), greedy[w]?.tokens.slice(0, w));
  assertSame(texts, await outside(run), 'settled');
});

test('windows that have a mask of their own for the first token share a batch with others that have none', async () => {
  for (const odd of [0, 1]) {
    const run = { job: (w: number) => (w % 2 === odd ? { firstMask: mask } : {}) };
    const { texts } = await inGraph(run);
    for (const w of ALL.filter((index) => index % 2 !== odd)) assert.notEqual((texts[w]?.tokens[0] as number) % 3, 0);
    assertSame(texts, await outside(run), `first mask, ${odd}`);
  }
});

test('windows of temperatures are drawn with their own numbers, beside others that take the likeliest', async () => {
  const run = { job: (w: number) => ({ temperature: [0, 0.4, 1, 0][w] as number }) };
  const { texts } = await inGraph(run);
  assertSame(texts, await outside(run), 'temperatures');
  const greedy = await outside({});
  assert.deepEqual(texts[0]?.tokens, greedy[0]?.tokens);
  assert.notDeepEqual(texts[2]?.tokens, greedy[2]?.tokens);
  // A number that is as good as 1 draws the last token that may be drawn.
  const last = { windows: [0], job: () => ({ temperature: 1, random: () => 1 - 2 ** -25, limit: 4 }) };
  assert.equal((await inGraph(last)).texts[0]?.tokens.length, 4);
});

test('a window alone is a batch, too, and text does not depend on company', async () => {
  const together = (await inGraph({ beams: 2 })).texts;
  for (const w of ALL) {
    const alone = (await inGraph({ beams: 2, windows: [w] })).texts;
    assertSame(alone, [together[w] as DecodedText], `window ${w} alone`);
  }
});

test('attention composed of plain kernels decodes what the fused one does', async () => {
  const composed = await windowSession('float32', 'composed');
  for (const beams of [1, 3]) assertSame((await inGraph({ beams }, composed)).texts, (await inGraph({ beams })).texts, `${beams} beams`);
  await composed.close();
});

for (const precision of ['float16', 'int8'] as const) {
  test(`${precision} follows float32: what is heard at each token, and how likely it is`, async () => {
    const session = await windowSession(precision);
    // Forced through the same text, or one token that tips would make the rest another text.
    const exact = await outside({});
    const forced = (w: number) => [...(WINDOWS[w] as ToyWindow).initial, ...(exact[w] as DecodedText).tokens.slice(0, 6)];
    const run = { job: (w: number) => ({ initial: forced(w), limit: 1 }) };
    const [rounded, expected] = [(await inGraph(run, session)).texts, (await inGraph(run)).texts];
    for (const w of ALL) {
      const [a, b] = [rounded[w] as DecodedText, expected[w] as DecodedText];
      assert.deepEqual(a.tokens, b.tokens, `window ${w}`);
      assertClose(a.logProbabilities, b.logProbabilities, precision === 'int8' ? 0.2 : 0.02, `window ${w}, log-probability`);
      // Measured: 0.99999 and 0.9997.
      assert.ok(cosine(a.alignment, b.alignment) > 0.999, `window ${w}: ${cosine(a.alignment, b.alignment)}`);
    }
    await session.close();
  });
}

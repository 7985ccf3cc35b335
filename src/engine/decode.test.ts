// Batched decoding equals naive decoding of each window alone: greedy, beams, sampling, drafts; limits, cancellation, rows that join and leave.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { testClip } from '../../test/audio.ts';
import { type BatchWindow, decodeTogether } from '../../test/decode-batch.ts';
import { TEST_THREADS, testSession } from '../../test/engine.ts';
import { goldenClip } from '../../test/golden/golden.ts';
import { encodeAlone, forward, naiveDecode } from '../../test/naive-decode.ts';
import { fakeWeights, toyConfig } from '../../test/toy-model.ts';
import { readWav } from '../../test/wav.ts';
import { writeDecoderGraph } from '../model/decoder-graph.ts';
import { writeEncoderGraph } from '../model/encoder-graph.ts';
import { CrossCache } from './caches.ts';
import type { DecodedText, DecodeJob } from './decode.ts';
import { DecodeBatch } from './decode-batch.ts';
import { MASKED, ModelSession } from './model-session.ts';
import { allPositions, SAMPLES_PER_POSITION, type WindowPositions } from './positions.ts';
import { candidatesFor } from './prefill.ts';
import { buildMasks, startTokens } from './rules.ts';
import { probabilityOf } from './sampling.ts';

/** A model without speech in it, in float32: fast, exact, and its texts are as varied as noise. */
async function toySession(): Promise<ModelSession> {
  const dir = mkdtempSync(join(tmpdir(), 'decode-'));
  try {
    const config = toyConfig({ width: 128 });
    const files = { encoder: join(dir, 'encoder.onnx'), decoder: join(dir, 'decoder.onnx') };
    const weights = fakeWeights(config, 'random');
    writeEncoderGraph(files.encoder, weights, config, 'float32');
    writeDecoderGraph(files.decoder, weights, config, 'float32');
    return await ModelSession.load(files, config, TEST_THREADS);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

// Before the first test: `after` closes the sessions as soon as the tests that are known by then have run.
const hello = (await readWav((await testClip('en/hello_world')).file)).pcm;
const toy = await toySession();
const real = await testSession('tiny.en', 'float32');
after(() => Promise.all([toy.close(), real.session.close()]));

const VOCABULARY = toy.config.vocabularySize;
const NO_SPEECH = 299;
const mask = new Float32Array(VOCABULARY);
const firstMask = new Float32Array(VOCABULARY);
for (let token = 0; token < VOCABULARY; token += 3) firstMask[token] = MASKED;
for (let token = 1; token < VOCABULARY; token += 7) mask[token] = MASKED;

function toyWindow(positions: number, pitch: number): Float32Array {
  return Float32Array.from({ length: positions * SAMPLES_PER_POSITION }, (_, i) => 0.3 * Math.sin(i * (pitch + i * 1e-6)));
}

/** Windows of different lengths, behind different numbers of forced tokens: some are padded in both directions. */
const TOY_WINDOWS: readonly { readonly pcm: Float32Array; readonly initial: readonly number[]; readonly startIndex: number }[] = [
  { pcm: toyWindow(60, 0.05), initial: [7], startIndex: 0 },
  { pcm: toyWindow(100, 0.11), initial: [31, 250, 7, 12, 90], startIndex: 2 },
  { pcm: toyWindow(25, 0.31), initial: [7, 45, 46], startIndex: 0 },
];

interface Run {
  readonly beams?: number;
  readonly endOfText?: number;
  readonly limit?: number;
  readonly temperature?: number;
  readonly random?: () => number;
  readonly cancelled?: (window: number) => boolean;
  /** Steps before window i joins. */
  readonly joinsAfter?: readonly number[];
  readonly draft?: (window: number) => readonly number[];
  readonly settled?: (window: number) => DecodeJob['settled'];
  readonly onFinish?: (window: number) => void;
}

/** No token of the vocabulary: texts run to their limit. */
const NEVER = -1;

const options = (run: Run) => ({
  beams: run.beams ?? 1,
  endOfText: run.endOfText ?? NEVER,
  noSpeech: NO_SPEECH,
});

const neverRandom = (): number => assert.fail('drew without a temperature');

function toyJob(w: number, run: Run): DecodeJob {
  const { initial, startIndex } = TOY_WINDOWS[w] as (typeof TOY_WINDOWS)[0];
  return {
    initial,
    startIndex,
    alignIndex: initial.length - 1,
    mask,
    firstMask,
    limit: run.limit ?? 12,
    temperature: run.temperature ?? 0,
    draft: run.draft?.(w) ?? [],
    settled: run.settled?.(w) ?? [],
    random: run.random ?? neverRandom,
    cancelled: () => run.cancelled?.(w) ?? false,
  };
}

async function joinToy(batch: DecodeBatch, w: number, job: DecodeJob): Promise<void> {
  const { pcm } = TOY_WINDOWS[w] as (typeof TOY_WINDOWS)[0];
  await toy.encode(pcm, batch.cross, batch.cross.append(pcm.length / SAMPLES_PER_POSITION));
  await batch.join(job);
}

/** Decodes these of TOY_WINDOWS in one batch. */
async function decodeToyBatch(windows: readonly number[], run: Run = {}, batch = new DecodeBatch(toy, options(run))) {
  const chosen = windows.map(
    (w, i): BatchWindow => ({
      pcm: (TOY_WINDOWS[w] as (typeof TOY_WINDOWS)[0]).pcm,
      job: toyJob(w, run),
      joinsAfter: run.joinsAfter?.[i] ?? 0,
    }),
  );
  return decodeTogether(toy, chosen, options(run), (index) => run.onFinish?.(windows[index] as number), batch);
}

const decodeToys = async (...args: Parameters<typeof decodeToyBatch>) => (await decodeToyBatch(...args)).texts;

const naiveToy = async (window: number, run: Run) => {
  const { pcm, initial } = TOY_WINDOWS[window] as (typeof TOY_WINDOWS)[0];
  const cross = await encodeAlone(toy, pcm);
  return naiveDecode(toy, cross, { initial, mask, firstMask, limit: 12, ...options(run), ...(run.limit && { limit: run.limit }) });
};

function sameText(actual: DecodedText | null | undefined, expected: Awaited<ReturnType<typeof naiveDecode>>, what: string): void {
  assert.deepEqual(actual?.tokens, expected.tokens, what);
  assert.equal(actual?.ended, expected.ended, what);
  assert.equal(actual?.logProbabilities.length, expected.logProbabilities.length, what);
  expected.logProbabilities.forEach((value, i) => {
    assert.ok(Math.abs((actual?.logProbabilities[i] as number) - value) < 1e-3, `${what}, token ${i}`);
  });
}

/** Tokens that texts of the toy contain somewhere: as ends of text they make hypotheses finish at different times. */
async function likelyEnds(): Promise<number[]> {
  const texts = await decodeToys([0, 1, 2], { beams: 4 });
  const tokens = texts.flatMap((text) => text?.tokens.slice(1) ?? []);
  return [...new Set(tokens)].slice(0, 8);
}

for (const beams of [1, 2, 5]) {
  test(`${beams === 1 ? 'greedy decoding' : `a search with ${beams} beams`} of a batch is the naive one of each window, whenever texts end`, async () => {
    const ends = await likelyEnds();
    assert.ok(ends.length >= 3);
    let ended = 0;
    for (const [i, endOfText] of [NEVER, ...ends].entries()) {
      // Together, one after the other, and into a batch that the first has left.
      const joinsAfter = [
        [0, 0, 0],
        [0, 2, 5],
        [3, 0, 1],
        [0, 20, 21],
      ][i % 4] as number[];
      const batch = await decodeToys([0, 1, 2], { beams, endOfText, joinsAfter });
      for (const window of [0, 1, 2]) {
        const expected = await naiveToy(window, { beams, endOfText });
        sameText(batch[window], expected, `window ${window}, end ${endOfText}`);
        if (expected.ended) ended++;
      }
    }
    assert.ok(ended > 0, 'no text ended: nothing left the batch early');
  });
}

test('a batch is used again and again, and what it did before does not show', async () => {
  const batch = new DecodeBatch(toy, options({}));
  const expected = await Promise.all([0, 1, 2].map((window) => naiveToy(window, {})));
  for (const order of [[0, 1, 2], [2], [1, 0], [0, 1, 2, 0, 1]]) {
    const { texts } = await decodeToyBatch(order, { joinsAfter: order.map((_, i) => 3 * i) }, batch);
    for (const [i, window] of order.entries()) sameText(texts[i], expected[window] as Awaited<ReturnType<typeof naiveToy>>, `${order}`);
    assert.equal(batch.windows.length, 0);
  }
});

test('a draft changes nothing but the number of steps, whether it is right, wrong, too long or cut short', async () => {
  const [endOfText = NEVER] = await likelyEnds();
  for (const end of [NEVER, endOfText]) {
    const plain = await decodeToys([0, 1, 2], { endOfText: end });
    const tokensOf = (w: number): readonly number[] => plain[w]?.tokens ?? [];
    const drafts: Record<string, (w: number) => readonly number[]> = {
      right: tokensOf,
      beginning: (w) => tokensOf(w).slice(0, 4),
      'wrong from the start': (w) => tokensOf(w).map((token) => (token + 1) % 290),
      'wrong from the third on': (w) => tokensOf(w).map((token, i) => (i < 2 ? token : (token + 1) % 290)),
      'past the end': (w) => [...tokensOf(w), 5, 6, 7, 8],
      'with an end in it': (w) => [...tokensOf(w).slice(0, 3), end === NEVER ? 9 : end, 4],
    };
    for (const [name, draft] of Object.entries(drafts)) {
      const { texts, accepted } = await decodeToyBatch([0, 1, 2], { endOfText: end, draft, joinsAfter: [0, 1, 4] });
      for (const w of [0, 1, 2]) {
        sameText(texts[w], plain[w] as DecodedText, `${name}, window ${w}`);
        assert.equal(texts[w]?.alignmentRows, plain[w]?.alignmentRows, name);
        texts[w]?.alignment.forEach((value, i) => {
          assert.ok(Math.abs(value - (plain[w]?.alignment[i] as number)) < 1e-3, `${name}, window ${w}, alignment`);
        });
        const most = tokensOf(w).length;
        const right = { right: most, beginning: 4, 'wrong from the start': 0, 'wrong from the third on': 2 }[name];
        // The last token of a text that the limit cuts is never taken from a draft: it must be chosen.
        if (right !== undefined) assert.equal(accepted[w], Math.min(right, most, 11), `${name}, window ${w}`);
      }
    }
  }
});

test('settled tokens stay as they are, and beams search what follows them', async () => {
  for (const beams of [1, 3]) {
    const whole = await decodeToys([0, 1, 2], { beams });
    const settled = (w: number) =>
      (whole[w]?.tokens ?? []).slice(0, 4).map((token, i) => ({ token, logProbability: whole[w]?.logProbabilities[i] as number }));
    const texts = await decodeToys([0, 1, 2], { beams, settled });
    for (const w of [0, 1, 2]) {
      assert.deepEqual(
        texts[w]?.tokens.slice(0, 4),
        settled(w).map(({ token }) => token),
      );
      if (beams === 1) sameText(texts[w], whole[w] as DecodedText, `window ${w}`);
      assert.equal(texts[w]?.alignmentRows, whole[w]?.alignmentRows);
    }
  }
});

test('a search that adopts what a greedy decode found is the one that begins anew, whoever comes and goes beside it', async () => {
  const ends = await likelyEnds();
  const places = new Set<number>();
  for (const [count, joinsAfter, endOfText] of [
    [0, [0, 0, 0], NEVER],
    ...ends.slice(0, 4).map((end) => [0, [0, 0, 0], end] as const),
    [1, [0, 2, 5], NEVER],
    [4, [6, 0, 20], ends[0] as number],
  ] as const) {
    const plain = await decodeToys([0, 1, 2], { endOfText });
    const settled = (w: number) =>
      (plain[w]?.tokens ?? []).slice(0, count).map((token, i) => ({ token, logProbability: plain[w]?.logProbabilities[i] as number }));
    const anew = await decodeToys([0, 1, 2], { beams: 5, endOfText, settled });
    const candidates = candidatesFor(5);
    const greedy = new DecodeBatch(toy, { ...options({ endOfText }), candidates });
    const search = new DecodeBatch(toy, options({ beams: 5, endOfText }));
    const windowOf = new Map<DecodeJob, number>();
    const texts: (DecodedText | null)[] = [];
    for (let step = 0; texts.filter((text) => text).length < 3; step++) {
      assert.ok(step < 100);
      for (const w of [0, 1, 2].filter((w) => joinsAfter[w] === step)) {
        const job = toyJob(w, { draft: () => (plain[w]?.tokens ?? []).slice(0, w) });
        await joinToy(greedy, w, job);
        windowOf.set(job, w);
      }
      await greedy.leave(async ({ job }, place) => {
        const w = windowOf.get(job) as number;
        places.add(place);
        const next = await search.adopt(greedy, place, toyJob(w, { settled }));
        windowOf.set(next.job, w);
      });
      await search.leave(({ job }, _place, read) => {
        texts[windowOf.get(job) as number] = read?.() ?? null;
      });
      for (const batch of [greedy, search]) if (batch.windows.length > 0) await batch.step();
    }
    for (const w of [0, 1, 2]) {
      sameText(texts[w], anew[w] as DecodedText, `${count} settled, window ${w}`);
      assert.equal(texts[w]?.alignmentRows, anew[w]?.alignmentRows);
      texts[w]?.alignment.forEach((value, i) => {
        assert.ok(Math.abs(value - (anew[w]?.alignment[i] as number)) < 1e-3, `${count} settled, window ${w}, alignment`);
      });
    }
    assert.deepEqual([greedy.windows.length, greedy.cross.windows, search.windows.length, search.cross.windows], [0, 0, 0, 0]);
  }
  assert.deepEqual(places, new Set([0, 1, 2]));
});

test('a window that its own batch adopts is decoded as if it came anew', async () => {
  const expected = await decodeToys([1, 2]);
  const batch = new DecodeBatch(toy, options({}));
  const texts = new Map<DecodeJob, DecodedText>();
  const windowOf = new Map<DecodeJob, number>();
  for (const w of [1, 2]) {
    const job = toyJob(w, { limit: w === 1 ? 3 : 12 });
    await joinToy(batch, w, job);
    windowOf.set(job, w);
  }
  let adopted = 0;
  while (batch.windows.length > 0) {
    await batch.leave(async ({ job }, place, read) => {
      const w = windowOf.get(job) as number;
      if (job.limit === 3) {
        adopted++;
        windowOf.set((await batch.adopt(batch, place, toyJob(w, {}))).job, w);
      } else texts.set(job, read?.() as DecodedText);
    });
    if (batch.windows.length > 0) await batch.step();
  }
  assert.equal(adopted, 1);
  for (const [job, text] of texts) sameText(text, expected[(windowOf.get(job) as number) - 1] as DecodedText, 'adopted');
  assert.equal(texts.size, 2);
});

test('alignment rows are those of one pass over the whole text, through beams and batches', async () => {
  const [endOfText] = await likelyEnds();
  for (const beams of [1, 4]) {
    const batch = await decodeToys([0, 1, 2], { beams, ...(endOfText !== undefined && { endOfText }) });
    for (const [w, result] of batch.entries()) {
      const { pcm, initial } = TOY_WINDOWS[w] as (typeof TOY_WINDOWS)[0];
      const { tokens, alignment, alignmentRows, positions, ended } = result as DecodedText;
      assert.deepEqual(positions, allPositions(pcm.length / SAMPLES_PER_POSITION).indices);
      // The last token of a text that the limit cut was never fed back.
      assert.equal(alignmentRows, 1 + tokens.length - (ended ? 0 : 1));
      const fed = [...initial, ...tokens.slice(0, alignmentRows - 1)];
      const whole = (await forward(toy, await encodeAlone(toy, pcm), fed, mask)).alignment;
      const frames = pcm.length / SAMPLES_PER_POSITION;
      const heads = toy.config.alignmentHeads.length;
      assert.equal(alignment.length, heads * alignmentRows * frames);
      for (let h = 0; h < heads; h++) {
        for (let r = 0; r < alignmentRows; r++) {
          for (let f = 0; f < frames; f++) {
            const expected = whole[(h * fed.length + initial.length - 1 + r) * frames + f] as number;
            const actual = alignment[(h * alignmentRows + r) * frames + f] as number;
            assert.ok(Math.abs(actual - expected) < 1e-3, `${beams} beams, window ${w}, head ${h}, row ${r}, frame ${f}`);
          }
        }
      }
    }
  }
});

test('the no-speech probability is read at the start token, before any mask, also behind a prompt', async () => {
  const batch = await decodeToys([0, 1, 2]);
  for (const [w, { pcm, initial, startIndex }] of TOY_WINDOWS.entries()) {
    const upToStart = initial.slice(0, startIndex + 1);
    const { logProbabilities } = await forward(toy, await encodeAlone(toy, pcm), upToStart, new Float32Array(VOCABULARY));
    const expected = Math.exp(logProbabilities[NO_SPEECH] as number);
    assert.ok(Math.abs((batch[w]?.noSpeechProbability as number) / expected - 1) < 1e-3);
  }
});

test('a limit cuts texts and says so; a limit of 1 needs no step', async () => {
  const whole = await decodeToys([0, 1, 2], { limit: 9 });
  for (const limit of [1, 2, 5]) {
    const cut = await decodeToys([0, 1, 2], { limit });
    for (const [w, text] of cut.entries()) {
      assert.equal(text?.ended, false);
      assert.deepEqual(text?.tokens, whole[w]?.tokens.slice(0, limit));
      assert.equal(text?.logProbabilities.length, limit);
    }
  }
});

test('a greedy text that loops ends there, as one that its limit cut; a search goes on', async () => {
  const only = new Float32Array(VOCABULARY).fill(MASKED);
  only[2] = 0;
  for (const [beams, limit, drafted, length] of [
    [1, 60, 0, 40],
    [1, 60, 30, 40],
    [1, 60, 50, 40],
    [1, 39, 0, 39],
    [2, 60, 0, 60],
  ] as const) {
    const run = { beams, limit, draft: () => Array(drafted).fill(2) };
    const { pcm } = TOY_WINDOWS[0] as (typeof TOY_WINDOWS)[0];
    const job: DecodeJob = { ...toyJob(0, run), mask: only, firstMask: only };
    const { texts } = await decodeTogether(toy, [{ pcm, job, joinsAfter: 0 }], options(run));
    assert.deepEqual(texts[0]?.tokens, Array(length).fill(2), `${beams} beams, limit ${limit}, ${drafted} drafted`);
    assert.equal(texts[0]?.ended, false);
  }
});

test('a cancelled window leaves the batch with null, at any step, and changes nothing for the others', async () => {
  for (const beams of [1, 3]) {
    const alone = await decodeToys([0, 1, 2], { beams });
    for (const patience of [0, 1, 4]) {
      let asked = 0;
      const finished: number[] = [];
      const batch = await decodeToys([0, 1, 2], {
        beams,
        cancelled: (window) => window === 1 && asked++ >= patience,
        onFinish: (window) => finished.push(window),
      });
      assert.equal(batch[1], null);
      assert.deepEqual(finished.toSorted(), [0, 2]);
      for (const w of [0, 2]) assert.deepEqual(batch[w]?.tokens, alone[w]?.tokens, `${beams} beams, cancelled after ${patience}`);
    }
  }
  const none = await decodeToys([0, 1, 2], { cancelled: () => true });
  assert.deepEqual(none, [null, null, null]);
});

test('sampling depends on its random numbers only, and follows the soft-max', async () => {
  const seeded = (seed: number) => () => {
    seed = (seed * 16_807) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const draw = (seed: number, temperature: number) => decodeToys([0, 1, 2], { temperature, random: seeded(seed) });
  const tokensOf = (texts: readonly (DecodedText | null)[]) => texts.map((text) => text?.tokens);
  const first = tokensOf(await draw(5, 1));
  assert.deepEqual(tokensOf(await draw(5, 1)), first);
  assert.notDeepEqual(tokensOf(await draw(6, 1)), first);
  // Nearly frozen, it is greedy.
  assert.deepEqual(tokensOf(await draw(5, 1e-3)), tokensOf(await decodeToys([0, 1, 2])));
  // Nothing masked is ever drawn, whatever the number.
  for (const value of [0, 0.5, 1 - 1e-16]) {
    for (const text of await decodeToys([0, 1, 2], { temperature: 1, random: () => value })) {
      assert.equal(firstMask[text?.tokens[0] as number], 0);
      for (const token of text?.tokens.slice(1) ?? []) assert.equal(mask[token], 0);
    }
  }
  // First tokens of one window in even steps of the random number: as often as they are likely.
  const draws = 400;
  const counts = new Map<number, number>();
  for (let i = 0; i < draws; i++) {
    const [text] = await decodeToys([2], { temperature: 2, limit: 1, random: () => (i + 0.5) / draws });
    const token = text?.tokens[0] as number;
    counts.set(token, (counts.get(token) ?? 0) + 1);
  }
  const { pcm, initial } = TOY_WINDOWS[2] as (typeof TOY_WINDOWS)[0];
  const { logProbabilities } = await forward(toy, await encodeAlone(toy, pcm), initial, firstMask);
  const weights = logProbabilities.map((value) => Math.exp(value / 2));
  const total = weights.reduce((a, b) => a + b);
  weights.forEach((weight, token) => {
    assert.ok(Math.abs((counts.get(token) ?? 0) - (draws * weight) / total) <= 1.01, `token ${token}`);
  });
});

test('probabilities of logits add up, however large the logits are', () => {
  const logits = Float32Array.of(1000, 999, -1000, 1000);
  const sum = [...logits.keys()].reduce((total, token) => total + probabilityOf(token, logits), 0);
  assert.ok(Math.abs(sum - 1) < 1e-6);
  assert.equal(probabilityOf(2, logits), 0);
});

// A real model on speech of three lengths. In float32: int8 kernels round otherwise for one row than for several, and what tips
// there is another processor's choice, not this file's subject.

const SECOND = 16_000;
const SPEECH = [goldenClip(), Float32Array.from([...goldenClip(), ...hello]), hello];

function margined(pcm: Float32Array): Float32Array {
  const padded = new Float32Array(Math.ceil((pcm.length + 3 * SECOND) / SAMPLES_PER_POSITION) * SAMPLES_PER_POSITION);
  padded.set(pcm);
  return padded;
}

async function decodeSpeech(windows: readonly number[], run: Run = {}) {
  const { session, tokenizer } = real;
  const masks = buildMasks(session.config, tokenizer);
  const initial = startTokens(tokenizer, 'en', 'transcribe');
  const chosen = windows.map(
    (w): BatchWindow => ({
      pcm: margined(SPEECH[w] as Float32Array),
      job: {
        initial,
        startIndex: 0,
        alignIndex: initial.length - 1,
        ...masks,
        limit: run.limit ?? 60,
        temperature: run.temperature ?? 0,
        draft: run.draft?.(w) ?? [],
        random: neverRandom,
        cancelled: () => run.cancelled?.(w) ?? false,
      },
    }),
  );
  const { endOfText, noSpeech } = tokenizer.special;
  const { texts } = await decodeTogether(session, chosen, { ...options(run), endOfText, noSpeech }, (index, cross, place) => {
    const copy = new CrossCache(session.shape);
    copy.copyFrom(copy.append((cross.chosen[place] as WindowPositions).indices.length), cross, place);
    left.push({ index, windows: cross.windows, copy });
  });
  return texts;
}

/** What onFinish saw of the caches in the last runs. */
const left: { readonly index: number; readonly windows: number; readonly copy: CrossCache }[] = [];
const meanOf = ({ logProbabilities }: DecodedText): number => logProbabilities.reduce((a, b) => a + b) / logProbabilities.length;

test('speech: a window in a batch gives the tokens that it gives alone, in any order', async () => {
  const alone = (await Promise.all([[0], [1], [2]].map((windows) => decodeSpeech(windows)))).map(([text]) => text as DecodedText);
  for (const text of alone) assert.equal(text.ended, true);
  for (const order of [
    [0, 1, 2],
    [2, 0, 1],
    [1, 2],
  ]) {
    const batch = await decodeSpeech(order);
    for (const [place, window] of order.entries()) {
      assert.deepEqual(batch[place]?.tokens, alone[window]?.tokens);
      assert.ok(Math.abs(meanOf(batch[place] as DecodedText) - meanOf(alone[window] as DecodedText)) < 1e-4);
    }
  }
  // And what the naive decoder says.
  const { session, tokenizer } = real;
  const masks = buildMasks(session.config, tokenizer);
  const initial = startTokens(tokenizer, 'en', 'transcribe');
  const cross = await encodeAlone(session, margined(SPEECH[0] as Float32Array));
  const naive = await naiveDecode(session, cross, { initial, ...masks, beams: 1, endOfText: tokenizer.special.endOfText, limit: 60 });
  assert.deepEqual(alone[0]?.tokens, naive.tokens);
});

test('speech: windows leave the batch as they finish, the shortest text first, and can be decoded again from a copy', async () => {
  left.length = 0;
  const texts = await decodeSpeech([0, 1, 2]);
  const lengths = texts.map((text) => text?.tokens.length as number);
  assert.deepEqual(
    left.map(({ index }) => lengths[index]),
    lengths.toSorted((a, b) => a - b),
  );
  assert.deepEqual(
    left.map(({ windows }) => windows),
    [3, 2, 1],
  );
  const { session, tokenizer } = real;
  const initial = startTokens(tokenizer, 'en', 'transcribe');
  const masks = buildMasks(session.config, tokenizer);
  for (const { index, copy } of [...left]) {
    const { tokens } = await naiveDecode(session, copy, {
      initial,
      ...masks,
      beams: 1,
      endOfText: tokenizer.special.endOfText,
      limit: 60,
    });
    assert.deepEqual(tokens, texts[index]?.tokens);
  }
});

test('speech: beams find texts that are at least as likely as the greedy ones', async () => {
  const greedy = await decodeSpeech([0, 1, 2]);
  const searched = await decodeSpeech([0, 1, 2], { beams: 5 });
  for (const [w, text] of searched.entries()) {
    assert.equal(text?.ended, true);
    assert.ok(meanOf(text as DecodedText) >= meanOf(greedy[w] as DecodedText) - 1e-4, `window ${w}`);
  }
});

// The caches against a naive model that copies nested arrays: whatever comes, goes and moves, every row keeps its numbers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Tensor } from 'onnxruntime-node';
import { type CacheShape, CrossCache, SelfCache } from './caches.ts';
import { allPositions } from './positions.ts';

const SHAPE: CacheShape = { layers: 2, heads: 2, headDim: 3, alignmentHeads: [0, 2] };

/** The number at index `i` of the row-major values of a named tensor of window or row `id`: all differ. */
const mark = (id: number, tensor: number, i: number): number => id * 4096 + tensor * 512 + i;

const names = (cache: CrossCache | SelfCache): string[] => Object.keys(cache.feeds());
const valuesOf = (tensor: Tensor | undefined): number[] => [...((tensor as Tensor).data as Float32Array)];

/** Writes window `w` as the encoder would. */
function encode(cache: CrossCache, w: number, id: number): void {
  const views = cache.window(w);
  Object.values(views).forEach((tensor, t) => {
    const data = tensor.data as Float32Array;
    for (let i = 0; i < data.length; i++) data[i] = mark(id, t, i);
  });
  cache.chosen[w] = allPositions(cache.positions);
}

/** What window `id`, `frames` long, must read as in a cache of `positions`: [name -> row-major values]. */
function expectedWindow(id: number, frames: number, positions: number): number[][] {
  const { heads, headDim, layers, alignmentHeads } = SHAPE;
  const tensors: number[][] = [];
  const keys = (t: number): number[] =>
    Array.from({ length: heads * positions * headDim }, (_, i) => {
      const [h, p, d] = [Math.floor(i / (positions * headDim)), Math.floor(i / headDim) % positions, i % headDim];
      return p < frames ? mark(id, t, (h * frames + p) * headDim + d) : 0;
    });
  const transposed = (t: number, aligned: number): number[] =>
    Array.from({ length: aligned * headDim * positions }, (_, i) => {
      const [row, p] = [Math.floor(i / positions), i % positions];
      return p < frames ? mark(id, t, row * frames + p) : 0;
    });
  for (let l = 0; l < layers; l++) {
    tensors.push(keys(tensors.length), keys(tensors.length + 1));
    if (alignmentHeads[l]) tensors.push(transposed(tensors.length, alignmentHeads[l] as number));
  }
  return tensors;
}

function checkWindows(cache: CrossCache, model: readonly { id: number; frames: number }[]): void {
  assert.equal(cache.windows, model.length);
  assert.deepEqual(
    cache.chosen.map(({ indices }) => indices.length),
    model.map(({ frames }) => frames),
  );
  const whole = cache.feeds();
  const expected = model.map(({ id, frames }) => expectedWindow(id, frames, cache.positions));
  Object.values(whole).forEach((tensor, t) => {
    assert.equal(tensor.dims[0], model.length);
    assert.deepEqual(
      valuesOf(tensor),
      expected.flatMap((window) => window[t] as number[]),
    );
  });
  model.forEach((_, w) => {
    Object.values(cache.window(w)).forEach((tensor, t) => {
      assert.deepEqual(valuesOf(tensor), expected[w]?.[t]);
    });
  });
}

test('the names and dimensions are those of the graphs', () => {
  const cross = new CrossCache(SHAPE);
  cross.reset(4, 5);
  assert.deepEqual(
    Object.entries(cross.feeds()).map(([name, { dims }]) => [name, [...dims]]),
    [
      ['cross_k_0', [4, 2, 5, 3]],
      ['cross_v_0', [4, 2, 5, 3]],
      ['cross_k_1', [4, 2, 5, 3]],
      ['cross_v_1', [4, 2, 5, 3]],
      ['align_k_1', [4, 2, 3, 5]],
    ],
  );
  const self = new SelfCache(SHAPE);
  self.reset(3);
  assert.deepEqual(names(self), ['past_k_0', 'past_v_0', 'past_k_1', 'past_v_1']);
  assert.deepEqual([...(self.feeds().past_k_1?.dims ?? [])], [3, 2, 0, 3]);
  assert.deepEqual([...(self.fetches(4).present_v_0?.dims ?? [])], [3, 2, 4, 3]);
});

test('windows that are encoded, copied in, copied out and removed keep their numbers, in batches of changing size', () => {
  const window = fc.record({ frames: fc.integer({ min: 1, max: 6 }), remove: fc.nat(), copy: fc.nat() });
  const batch = fc.record({ extra: fc.integer({ min: 0, max: 3 }), windows: fc.array(window, { minLength: 1, maxLength: 5 }) });
  fc.assert(
    fc.property(fc.array(batch, { minLength: 1, maxLength: 4 }), (batches) => {
      // One cache for all batches, as the engine has it: what an earlier one left must not show.
      const cache = new CrossCache(SHAPE);
      let id = 0;
      for (const { extra, windows } of batches) {
        const positions = Math.max(...windows.map(({ frames }) => frames)) + extra;
        cache.reset(windows.length, positions);
        const model = windows.map(({ frames }, w) => {
          id++;
          if (frames === positions) encode(cache, w, id);
          else {
            const single = new CrossCache(SHAPE);
            single.reset(1, frames);
            encode(single, 0, id);
            cache.copyFrom(w, single);
          }
          return { id, frames };
        });
        checkWindows(cache, model);
        for (const { remove, copy: chosen } of windows) {
          const copied = chosen % model.length;
          const kept = model[copied] as (typeof model)[0];
          const copy = new CrossCache(SHAPE);
          copy.copyFrom(copy.append(kept.frames), cache, copied);
          const place = remove % model.length;
          cache.remove(place);
          const last = model.pop() as (typeof model)[0];
          if (place < model.length) model[place] = last;
          if (model.length > 0) checkWindows(cache, model);
          // The copy is its own: nothing that happened to the cache shows in it, and it can be put back.
          checkWindows(copy, [kept]);
          const back = new CrossCache(SHAPE);
          back.reset(1, positions + 1);
          back.copyFrom(0, copy);
          assert.deepEqual(valuesOf(back.feeds().cross_v_1), expectedWindow(kept.id, kept.frames, positions + 1)[3]);
          if (model.length === 0) break;
        }
        assert.equal(cache.windows, model.length);
      }
    }),
    { numRuns: 150 },
  );
});

test('windows that are appended to others, longer or shorter, keep their numbers', () => {
  const action = fc.record({ frames: fc.integer({ min: 1, max: 6 }), leave: fc.option(fc.nat(), { freq: 2 }) });
  fc.assert(
    fc.property(fc.array(action, { minLength: 1, maxLength: 12 }), (actions) => {
      const cache = new CrossCache(SHAPE);
      const model: { id: number; frames: number }[] = [];
      for (const [id, { frames, leave }] of actions.entries()) {
        const place = cache.append(frames);
        assert.equal(place, model.length);
        model.push({ id, frames });
        if (frames === cache.positions) encode(cache, place, id);
        else {
          const single = new CrossCache(SHAPE);
          single.reset(1, frames);
          encode(single, 0, id);
          cache.copyFrom(place, single);
        }
        checkWindows(cache, model);
        assert.deepEqual(cache.only(place).chosen, [allPositions(frames)]);
        if (leave === null) continue;
        const gone = leave % model.length;
        cache.remove(gone);
        const last = model.pop() as (typeof model)[0];
        if (gone < model.length) model[gone] = last;
        if (model.length > 0) checkWindows(cache, model);
      }
    }),
    { numRuns: 150 },
  );
});

test('a cache is as wide as its widest window again when a much wider one has left, whatever its place', () => {
  for (const wide of [0, 1, 2]) {
    const cache = new CrossCache(SHAPE);
    const model = [0, 1, 2].map((id) => ({ id, frames: id === wide ? 10 : 4 + id }));
    for (const { id, frames } of model) {
      const single = new CrossCache(SHAPE);
      single.reset(1, frames);
      encode(single, 0, id);
      cache.copyFrom(cache.append(frames), single);
    }
    assert.equal(cache.positions, 10);
    cache.remove(wide);
    const last = model.pop() as (typeof model)[0];
    if (wide < model.length) model[wide] = last;
    assert.equal(cache.positions, Math.max(...model.map(({ frames }) => frames)));
    checkWindows(cache, model);
  }
});

/** A row of the naive model: for each of its tokens a number that stands for the token's keys and values. */
type Row = readonly number[];

function checkRows(cache: SelfCache, model: readonly Row[]): void {
  const { heads, headDim } = SHAPE;
  const length = model[0]?.length ?? 0;
  assert.equal(cache.rows, model.length);
  assert.equal(cache.length, length);
  Object.values(cache.feeds()).forEach((tensor, t) => {
    assert.deepEqual([...tensor.dims], [model.length, heads, length, headDim]);
    const expected = model.flatMap((row) =>
      Array.from({ length: heads }, (_, h) =>
        row.flatMap((token) => Array.from({ length: headDim }, (__, d) => mark(token, t, h * 8 + d))),
      ).flat(),
    );
    assert.deepEqual(valuesOf(tensor), expected);
  });
}

/** Does what the decoder graph does: the present is the past, head by head, with new tokens at its end. */
function step(cache: SelfCache, count: number, token: (row: number, i: number) => number): void {
  const { heads, headDim } = SHAPE;
  const past = Object.values(cache.feeds());
  const present = Object.values(cache.fetches(count));
  const { rows, length } = cache;
  present.forEach((tensor, t) => {
    const out = tensor.data as Float32Array;
    const old = past[t]?.data as Float32Array;
    for (let r = 0; r < rows; r++) {
      for (let h = 0; h < heads; h++) {
        const [from, to] = [(r * heads + h) * length * headDim, (r * heads + h) * (length + count) * headDim];
        out.set(old.subarray(from, from + length * headDim), to);
        for (let i = 0; i < count; i++) {
          for (let d = 0; d < headDim; d++) out[to + (length + i) * headDim + d] = mark(token(r, i), t, h * 8 + d);
        }
      }
    }
  });
  cache.advance(count);
}

test('rows that grow, leave, swap and multiply keep their history', () => {
  const command = fc.oneof(
    fc.record({ kind: fc.constant('step' as const), count: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant('gather' as const), sources: fc.array(fc.nat(), { minLength: 1, maxLength: 6 }) }),
    fc.record({ kind: fc.constant('leave' as const), row: fc.nat() }),
    fc.record({ kind: fc.constant('reset' as const), rows: fc.integer({ min: 1, max: 4 }) }),
  );
  fc.assert(
    fc.property(fc.array(command, { minLength: 1, maxLength: 25 }), (commands) => {
      const cache = new SelfCache(SHAPE);
      cache.reset(2);
      let model: Row[] = [[], []];
      let token = 0;
      for (const action of commands) {
        if (action.kind === 'step') {
          const fresh = model.map(() => Array.from({ length: action.count }, () => ++token));
          step(cache, action.count, (row, i) => fresh[row]?.[i] as number);
          model = model.map((row, r) => [...row, ...(fresh[r] as number[])]);
        } else if (action.kind === 'reset') {
          cache.reset(action.rows);
          model = Array.from({ length: action.rows }, () => []);
        } else {
          // `leave` is what a batch does to a row that is done: the last one takes its place.
          const order = [...model.keys()];
          if (action.kind === 'leave' && order.length > 1) {
            const last = order.pop() as number;
            const place = action.row % model.length;
            if (place < order.length) order[place] = last;
          }
          const sources = action.kind === 'gather' ? action.sources.map((source) => source % model.length) : order;
          cache.gather(sources);
          model = sources.map((source) => model[source] as Row);
        }
        checkRows(cache, model);
      }
    }),
    { numRuns: 200 },
  );
});

test('rows of two caches are put together, cut at both ends, with the shorter ones to the right', () => {
  const source = fc.record({ fresh: fc.boolean(), row: fc.nat(), from: fc.nat(), length: fc.nat() });
  fc.assert(
    fc.property(fc.array(source, { minLength: 1, maxLength: 6 }), (sources) => {
      const cache = new SelfCache(SHAPE);
      const other = new SelfCache(SHAPE);
      cache.reset(3);
      other.reset(2);
      step(cache, 6, (row, i) => 10 * row + i + 1);
      step(other, 4, (row, i) => 100 + 10 * row + i);
      const rows = sources.map(({ fresh, row, from, length }) => {
        const chosen = fresh ? other : cache;
        const first = from % chosen.length;
        return { cache: chosen, row: row % chosen.rows, from: first, to: first + 1 + (length % (chosen.length - first)) };
      });
      const tokens = rows.map(({ cache: of, row, from, to }) =>
        Array.from({ length: to - from }, (_, i) => (of === other ? 100 : 1) + 10 * row + from + i),
      );
      cache.assemble(rows);
      const length = Math.max(...tokens.map((row) => row.length));
      assert.deepEqual([cache.rows, cache.length], [rows.length, length]);
      Object.values(cache.feeds()).forEach((tensor, t) => {
        const { heads, headDim } = SHAPE;
        const values = valuesOf(tensor);
        tokens.forEach((row, r) => {
          for (let h = 0; h < heads; h++) {
            const end = (r * heads + h + 1) * length * headDim;
            const expected = row.flatMap((token) => Array.from({ length: headDim }, (__, d) => mark(token, t, h * 8 + d)));
            assert.deepEqual(values.slice(end - expected.length, end), expected);
          }
        });
        assert.ok(values.every(Number.isFinite));
      });
    }),
    { numRuns: 150 },
  );
});

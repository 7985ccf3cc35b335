// The scheduling policy: who goes first, where to, who has to go; and by property, that nobody starves or is lost.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Priority } from './transcriber.ts';
import { PRIORITIES, type Running, type WaitingWindow, WindowQueue, type WindowQueueOptions } from './window-queue.ts';

interface Named extends WaitingWindow {
  readonly name: string;
}

const IDLE: Running = { final: 0, partial: 0, file: 0 };
const runs = (running: Partial<Running>): Running => ({ ...IDLE, ...running });

/** @param names kind and owner, for instance `partial a`; each is submitted a second after the one before */
function queueOf(names: readonly string[], options: Partial<WindowQueueOptions> = {}): WindowQueue<Named> {
  const queue = new WindowQueue<Named>({ maxQueue: 64, maxBatch: 4, ...options });
  names.forEach((name, index) => {
    assert.equal(queue.add(windowOf(name, index), 0), null);
  });
  return queue;
}

function windowOf(name: string, submittedSeconds: number): Named {
  const [priority, owner] = name.split(' ') as [Priority, string];
  return { name, priority, owner, submittedSeconds };
}

/** Long after all that tests submit: no stream is live any more. */
const LATER = 1000;

/** Names in the order in which an idle engine is given them, one at a time. */
function served(queue: WindowQueue<Named>): string[] {
  const names: string[] = [];
  for (let next = queue.next([IDLE], LATER); next; next = queue.next([IDLE], LATER)) names.push(next.window.name);
  return names;
}

test('finals go first, oldest first, then partials, then files', () => {
  const queue = queueOf(['file a', 'partial b', 'final c', 'partial a', 'final b', 'final a']);
  assert.deepEqual(served(queue), ['final c', 'final b', 'final a', 'partial b', 'partial a', 'file a']);
});

test('of partials, the owner goes first whose last turn was longest ago', () => {
  const queue = queueOf(['partial a', 'partial b']);
  assert.deepEqual(served(queue), ['partial a', 'partial b']);
  for (const [index, name] of ['partial b', 'partial a', 'partial c'].entries()) queue.add(windowOf(name, 10 + index), 0);
  assert.deepEqual(served(queue), ['partial c', 'partial a', 'partial b']);
});

test('files take turns, each oldest first', () => {
  const queue = new WindowQueue<Named>({ maxQueue: 64, maxBatch: 4 });
  const windows = ['file a', 'file a', 'file a', 'file b', 'file b', 'file c'].map(windowOf);
  for (const window of windows) queue.add(window, 0);
  const order: number[] = [];
  for (let next = queue.next([IDLE], LATER); next; next = queue.next([IDLE], LATER)) order.push(next.window.submittedSeconds);
  assert.deepEqual(order, [0, 3, 5, 1, 4, 2]);
});

test('a file that waits has every fourth turn at least', () => {
  const queue = queueOf(['file f', 'file f', ...Array.from({ length: 8 }, (_, i) => `partial ${i}`)]);
  const kinds = served(queue).map((name) => name.split(' ')[0]?.[1]);
  assert.equal(kinds.join(''), 'aaaiaaaiaa');
});

test('partials that nobody waited behind do not count', () => {
  const queue = queueOf(['partial a', 'partial b', 'partial c', 'partial d']);
  for (let turn = 0; turn < 3; turn++) queue.next([IDLE], LATER);
  queue.add(windowOf('file f', 9), 0);
  assert.deepEqual(served(queue), ['partial d', 'file f']);
});

test('the least occupied engine gets the window', () => {
  const next = (engines: readonly Running[]) => queueOf(['final a']).next(engines, LATER)?.engine;
  assert.equal(next([runs({ final: 3 }), runs({ final: 1 }), runs({ final: 1, partial: 1 })]), 1);
  assert.equal(next([IDLE, IDLE]), 0);
  assert.equal(next([runs({ file: 1 }), runs({ final: 1 })]), 1, 'a file is more work');
  assert.equal(next([runs({ final: 4 }), runs({ final: 3 })]), 1);
  assert.equal(next([runs({ final: 4 }), runs({ final: 2, file: 2 })]), undefined);
});

const places: readonly (readonly [string, Running, Partial<WindowQueueOptions>, boolean])[] = [
  ['final x', runs({ final: 3 }), {}, true],
  ['final x', runs({ partial: 1, file: 2 }), {}, true],
  ['final x', runs({ final: 4 }), {}, false],
  ['file x', runs({ file: 2 }), {}, true],
  ['file x', runs({ file: 3 }), {}, false],
  ['file x', runs({ file: 2, partial: 1 }), {}, false],
  ['file x', runs({ final: 3 }), {}, true],
  ['partial x', runs({ final: 1 }), {}, true],
  ['partial x', runs({ final: 2 }), {}, false],
  ['partial x', runs({ final: 1, partial: 1 }), {}, false],
  ['partial x', runs({ file: 2 }), {}, true],
  ['partial x', runs({ file: 3 }), {}, false],
  ['file x', IDLE, { maxBatch: 1 }, true],
  ['partial x', IDLE, { maxBatch: 1 }, true],
  ['file x', runs({ final: 1 }), { maxBatch: 1 }, false],
  ['final x', runs({ file: 1 }), { maxBatch: 1 }, false],
];
for (const [name, running, options, starts] of places) {
  test(`${name} ${starts ? 'starts' : 'waits'} where ${JSON.stringify(running)} runs, of at most ${options.maxBatch ?? 4}`, () => {
    assert.equal(queueOf([name], options).next([running], LATER) !== null, starts);
  });
}

test('a partial that finds no place does not hold up a file', () => {
  const queue = queueOf(['partial a', 'file f']);
  assert.equal(queue.next([runs({ final: 2 })], LATER)?.window.name, 'file f');
});

test('while there are streams, files run on half of the engines, one on each; ten seconds after the last they run on all', () => {
  const startsBeside = (now: number, ...engines: Partial<Running>[]): boolean => {
    const queue = queueOf(['final s', 'file f']);
    queue.next([IDLE], 0);
    return queue.next(engines.map(runs), now) !== null;
  };
  assert.equal(startsBeside(9, {}), true);
  assert.equal(startsBeside(9, { file: 1 }), false);
  assert.equal(startsBeside(9, {}, { final: 1 }), true);
  assert.equal(startsBeside(9, {}, { file: 1 }), false);
  assert.equal(startsBeside(9, {}, { file: 1 }, {}, {}), true);
  assert.equal(startsBeside(9, {}, { file: 1 }, {}, { file: 1 }), false);
  assert.equal(startsBeside(10, {}, { file: 1 }), true);
  assert.equal(startsBeside(10, { file: 2 }), true);
});

test('a full queue refuses; what runs counts', () => {
  const queue = queueOf(['partial a', 'file b'], { maxQueue: 3 });
  for (const name of ['partial c', 'file c']) {
    const newcomer = windowOf(name, 5);
    assert.equal(queue.add(newcomer, 1), newcomer);
  }
  assert.equal(queue.size, 2);
  assert.equal(queue.add(windowOf('partial c', 6), 0), null);
});

test('a final displaces the youngest partial or file of a full queue, and is refused by finals', () => {
  const queue = queueOf(['file a', 'partial b', 'file c', 'final d'], { maxQueue: 4 });
  const displaced = ['e', 'f', 'g'].map((owner, index) => queue.add(windowOf(`final ${owner}`, 5 + index), 0)?.name);
  assert.deepEqual(displaced, ['file c', 'partial b', 'file a']);
  const last = windowOf('final h', 9);
  assert.equal(queue.add(last, 0), last);
  assert.deepEqual(served(queue), ['final d', 'final e', 'final f', 'final g']);
});

test('a final that finds nothing to displace, since all of it runs, is refused', () => {
  const queue = queueOf([], { maxQueue: 2 });
  const newcomer = windowOf('final a', 0);
  assert.equal(queue.add(newcomer, 2), newcomer);
});

test('windows that waited too long leave, each kind at its age', () => {
  const queue = queueOf(['file a', 'final b', 'partial c', 'partial d']); // at 0, 1, 2 and 3 s
  assert.equal(queue.nextExpirySeconds(), 3.5);
  assert.deepEqual(queue.expire(3.4), []);
  assert.deepEqual(
    queue.expire(3.5).map(({ name }) => name),
    ['partial c'],
  );
  assert.equal(queue.nextExpirySeconds(), 4.5);
  assert.deepEqual(
    queue.expire(31).map(({ name }) => name),
    ['final b', 'partial d'],
  );
  assert.equal(queue.nextExpirySeconds(), 300);
  assert.equal(queue.expire(300).length, 1);
  assert.equal(queue.nextExpirySeconds(), null);
  assert.equal(queueOf(['partial a'], { maxWaitSeconds: { partial: 0.2 } }).nextExpirySeconds(), 0.2);
});

test('a removed window is gone at once; the oldest final tells how long it waits', () => {
  const queue = new WindowQueue<Named>({ maxQueue: 2, maxBatch: 4 });
  const [first, second] = [windowOf('final a', 1), windowOf('final b', 2)];
  queue.add(first, 0);
  queue.add(second, 0);
  assert.equal(queue.oldestFinalSeconds(4), 3);
  assert.equal(queue.remove(first), true);
  assert.equal(queue.remove(first), false);
  assert.equal(queue.oldestFinalSeconds(4), 2);
  assert.deepEqual(queue.clear(), [second]);
  assert.equal(queue.oldestFinalSeconds(4), 0);
  assert.equal(queue.next([IDLE], 4), null);
});

test('however many owners there were, the queue goes on', () => {
  const queue = new WindowQueue<Named>({ maxQueue: 64, maxBatch: 4 });
  for (let i = 0; i < 5000; i++) {
    queue.add(windowOf(`partial ${i}`, i), 0);
    assert.equal(queue.next([IDLE], i)?.window.owner, String(i));
  }
});

type Step =
  | { readonly kind: 'submit'; readonly priority: Priority; readonly owner: string }
  | { readonly kind: 'finish'; readonly pick: number }
  | { readonly kind: 'cancel'; readonly pick: number }
  | { readonly kind: 'pass'; readonly seconds: number };

const steps = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('submit'), priority: fc.constantFrom(...PRIORITIES), owner: fc.constantFrom(...'abc') }),
    },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('finish'), pick: fc.nat(100) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel'), pick: fc.nat(100) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('pass'), seconds: fc.double({ min: 0, max: 1, noNaN: true }) }) },
  ) as fc.Arbitrary<Step>,
  { maxLength: 120 },
);

test('whatever happens: all bounds hold, finals keep their order and their place, no file starves, and every window leaves once', () => {
  const bounds = fc.record({ maxQueue: fc.integer({ min: 1, max: 20 }), maxBatch: fc.integer({ min: 1, max: 4 }) });
  fc.assert(
    fc.property(steps, bounds, fc.integer({ min: 1, max: 3 }), (script, options, engineCount) => {
      const queue = new WindowQueue<Named>(options);
      const waiting = new Set<Named>();
      const running: { readonly window: Named; readonly engine: number }[] = [];
      let now = 0;
      let lastStream = Number.NEGATIVE_INFINITY;
      let passed = 0;
      const occupancy = (): Running[] =>
        Array.from({ length: engineCount }, (_, engine) => {
          const count = (priority: Priority) => running.filter((r) => r.engine === engine && r.window.priority === priority).length;
          return { final: count('final'), partial: count('partial'), file: count('file') };
        });
      const ofKind = (priority: Priority): Named[] => [...waiting].filter((window) => window.priority === priority);

      for (const step of script) {
        if (step.kind === 'pass') now += step.seconds;
        if (step.kind === 'finish' && running.length > 0) running.splice(step.pick % running.length, 1);
        if (step.kind === 'cancel' && waiting.size > 0) {
          const window = [...waiting][step.pick % waiting.size] as Named;
          assert.ok(queue.remove(window) && waiting.delete(window));
        }
        for (const window of queue.expire(now)) assert.ok(waiting.delete(window), 'expired once');
        if (step.kind === 'submit') {
          const window = windowOf(`${step.priority} ${step.owner}`, now);
          if (step.priority !== 'file') lastStream = now;
          const isFull = waiting.size + running.length >= options.maxQueue;
          const refused = queue.add(window, running.length);
          waiting.add(window);
          assert.equal(refused !== null, isFull);
          if (refused !== null) assert.ok(waiting.delete(refused), 'refused once');
          if (refused === window && step.priority === 'final') assert.equal(waiting.size, ofKind('final').length);
          if (refused !== null && refused !== window) assert.equal(step.priority === 'final' && refused.priority !== 'final', true);
        }
        const isLive = now < lastStream + 10;
        const others = ({ partial, file }: Running): number => partial + file;
        const mostOthers = Math.max(1, options.maxBatch - 1);
        const withFile = (engines: readonly Running[]): number => engines.filter(({ file }) => file > 0).length;
        const mostWithFile = Math.max(1, Math.floor(engineCount / 2));
        const fileFits = (engines: readonly Running[]): boolean =>
          engines.some((e) => e.final + others(e) < options.maxBatch && others(e) < mostOthers && (!isLive || e.file === 0)) &&
          (!isLive || withFile(engines) < mostWithFile);
        for (;;) {
          const before = occupancy();
          const next = queue.next(before, now);
          if (next === null) break;
          const { engine, window } = next;
          if (window.priority === 'final') assert.equal(window, ofKind('final')[0]);
          else assert.equal(ofKind('final').length, 0, 'a final goes first');
          if (window.priority === 'file') passed = 0;
          if (window.priority === 'partial' && ofKind('file').length > 0) {
            assert.ok(passed < 3 || !fileFits(before), 'a file has its turn');
            passed++;
          }
          assert.ok(waiting.delete(window), 'started once');
          running.push({ window, engine });
          const after = occupancy()[engine] as Running;
          assert.ok(after.final + others(after) <= options.maxBatch);
          if (window.priority !== 'final') assert.ok(others(after) <= mostOthers);
          if (window.priority === 'file' && isLive) assert.ok(after.file === 1 && withFile(occupancy()) <= mostWithFile);
        }
        assert.equal(queue.size, waiting.size);
        assert.ok(waiting.size + running.length <= options.maxQueue);
        // What waits has a reason.
        const counts = occupancy().map((engine) => engine.final + others(engine));
        if (ofKind('final').length > 0) assert.ok(counts.every((count) => count === options.maxBatch));
        if (ofKind('partial').length > 0) assert.ok(counts.every((count) => count > 0));
        if (ofKind('file').length > 0) assert.ok(!fileFits(occupancy()));
      }
      running.length = 0;
      while (waiting.size > 0) {
        const next = queue.next(occupancy(), now);
        assert.ok(next && waiting.delete(next.window), 'all are served in the end');
      }
      assert.equal(queue.next(occupancy(), now), null);
    }),
    { numRuns: 300 },
  );
});

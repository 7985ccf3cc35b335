// The file planner alone: windows cover all speech, keep their limit and are cut in pauses.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type FileWindow, FileWindowPlanner } from './file-windows.ts';

const FRAME = 512;
const SECOND = 16_000;
const frames = (seconds: number): number => Math.round((seconds * SECOND) / FRAME);

/** Plans scores that come in blocks of the given length. */
function plan(scores: readonly number[], blockFrames = 900, totalSamples = scores.length * FRAME): FileWindow[] {
  const planner = new FileWindowPlanner(0.5);
  const windows: FileWindow[] = [];
  const take = (): void => {
    for (let window = planner.next(); window !== null; window = planner.next()) windows.push(window);
  };
  for (let at = 0; at < scores.length; at += blockFrames) {
    planner.push(scores.slice(at, at + blockFrames));
    take();
  }
  planner.end(totalSamples);
  take();
  return windows;
}

/** Alternating pauses and speech, in frames. */
const score = (spans: readonly (readonly [pause: number, speech: number])[]): number[] =>
  spans.flatMap(([pause, speech]) => [...new Array<number>(pause).fill(0.1), ...new Array<number>(speech).fill(0.9)]);

const arbitrarySpans = (longestSpeechSeconds: number) =>
  fc.array(
    fc.tuple(
      fc.oneof(fc.integer({ min: 1, max: frames(0.5) }), fc.integer({ min: frames(0.4), max: frames(6) })),
      fc.integer({ min: 2, max: frames(longestSpeechSeconds) }),
    ),
    { maxLength: 40, size: 'max' },
  );

function assertPlan(windows: readonly FileWindow[], scores: readonly number[]): void {
  let cursor = 0;
  let mustChain = false;
  const covered = new Uint8Array(scores.length);
  for (const window of windows) {
    assert.ok(window.start >= cursor && window.end > window.start, 'in order, longer than nothing');
    assert.ok(window.end - window.start <= (window.isChained ? 20 : 28) * SECOND, 'within the limit');
    assert.equal(window.isChained, mustChain, 'a hard end is followed by a chained window');
    if (mustChain) assert.equal(window.start, cursor, 'without a gap');
    cursor = window.end;
    mustChain = !window.endsClean;
    covered.fill(1, Math.floor(window.start / FRAME), Math.ceil(window.end / FRAME));
  }
  assert.ok(!mustChain, 'the last window ends clean');
  assert.ok(
    scores.every((value, frame) => value < 0.5 || covered[frame] === 1),
    'all speech is in a window',
  );
}

describe('the file planner', () => {
  test('covers all speech in windows within the limit, whatever the scores and however they come', () => {
    fc.assert(
      fc.property(arbitrarySpans(40), fc.integer({ min: 1, max: 2000 }), (spans, blockFrames) => {
        const scores = score(spans);
        const windows = plan(scores, blockFrames);
        assertPlan(windows, scores);
        assert.deepEqual(windows, plan(scores, scores.length + 1));
      }),
      { numRuns: 200 },
    );
  });

  test('cuts in pauses only, where there are pauses', () => {
    const spoken = fc.array(fc.tuple(fc.integer({ min: frames(0.35), max: frames(4) }), fc.integer({ min: 4, max: frames(6) })), {
      maxLength: 40,
      size: 'max',
    });
    fc.assert(
      fc.property(spoken, (spans) => {
        const scores = score(spans);
        for (const window of plan(scores)) {
          assert.ok(window.endsClean);
          for (const edge of [window.start / FRAME, window.end / FRAME])
            assert.ok(!(scores[edge - 1]! > 0.5 && scores[edge]! > 0.5), `cut inside speech at ${edge}`);
        }
      }),
      { numRuns: 100 },
    );
  });

  test('skips long pauses and keeps 0.3 s around speech', () => {
    const windows = plan(
      score([
        [frames(60), frames(5)],
        [frames(30), frames(5)],
        [frames(60), 0],
      ]),
    );
    assert.deepEqual(
      windows.map(({ start, end }) => [(start / SECOND).toFixed(1), (end / SECOND).toFixed(1)]),
      [
        ['59.7', '65.3'],
        ['94.7', '100.3'],
      ],
    );
  });

  test('prefers the longest pause in the last third of the allowed length', () => {
    const [first] = plan(
      score([
        [0, frames(10)],
        [frames(1.5), frames(9)],
        [frames(0.4), frames(3)],
        [frames(0.8), frames(10)],
      ]),
    );
    assert.ok(Math.abs(first!.end / SECOND - 24.2) < 0.1, `${first!.end / SECOND}`);
  });

  test('ends hard in the quietest 0.3 s of speech without pauses', () => {
    const scores = new Array<number>(frames(60)).fill(0.9);
    scores.fill(0.7, frames(22), frames(22.3));
    const windows = plan(scores);
    assert.ok(!windows[0]!.endsClean && Math.abs(windows[0]!.end / SECOND - 22.15) < 0.1);
    assertPlan(windows, scores);
  });

  test('takes neither a click nor an empty file for speech, and stops at the last sample', () => {
    assert.deepEqual(plan([]), []);
    assert.deepEqual(
      plan(
        score([
          [50, 1],
          [50, 1],
          [50, 0],
        ]),
      ),
      [],
    );
    assert.deepEqual(plan(score([[0, 40]]), 900, 40 * FRAME - 100), [
      { start: 0, end: 40 * FRAME - 100, isChained: false, endsClean: true },
    ]);
  });
});

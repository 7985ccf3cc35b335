// Which words are final and which wait: by what follows them in the window, and by how sure the model is of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SAMPLE_RATE, toSamples } from '../core/units.ts';
import { type CommitRules, commitWords } from './commit.ts';

const WINDOW_SECONDS = 8;
const span = { start: 0, committedUntil: 0, end: WINDOW_SECONDS * SAMPLE_RATE };

/** How many of a word every 0.5 s are kept, where the one that ends `beforeEnd` seconds before the window's end has this probability. */
function keptOf(beforeEnd: number, probability: number, doubtSeconds: number): number {
  const rules: CommitRules = {
    overlapSamples: SAMPLE_RATE / 2,
    doubtSamples: toSamples(doubtSeconds),
    regionLimitSamples: 20 * SAMPLE_RATE,
    nextEnd: (committedUntil) => committedUntil + 5 * SAMPLE_RATE,
  };
  const words = Array.from({ length: 2 * WINDOW_SECONDS }, (_, i) => {
    const end = (i + 1) / 2;
    return {
      text: ` w${i}`,
      tokens: [i],
      start: toSamples(end - 0.4),
      end: toSamples(end),
      probability: end === WINDOW_SECONDS - beforeEnd ? probability : 0.9,
    };
  });
  const { held, kept } = commitWords(words, span, rules);
  assert.deepEqual([...kept, ...held], words);
  return kept.length;
}

test('words wait that end within the overlap, and all from the first doubtful one on: the longer before the end, the more doubt it takes', () => {
  const all = 15;
  for (const [beforeEnd, probability, doubtSeconds, kept] of [
    [1, 0.75, 3, all],
    [1, 0.6, 3, 13],
    [1.5, 0.6, 3, 12],
    [2, 0.6, 3, all],
    [2, 0.4, 3, 11],
    [2.5, 0.4, 3, all],
    [2.5, 0.2, 3, 10],
    [3, 0.2, 3, all],
    // A chunk of 2 s
    [1, 0.6, 1.2, 13],
    [1.5, 0.4, 1.2, all],
  ] as const)
    assert.equal(
      keptOf(beforeEnd, probability, doubtSeconds),
      kept,
      `${beforeEnd} s before the end, ${probability}, doubt ${doubtSeconds} s`,
    );
});

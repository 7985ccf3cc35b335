// Where subtitles break.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SAMPLE_RATE } from '../core/units.ts';
import { joinWords } from './event-writer.ts';
import { type Segment, Segmenter } from './segmenter.ts';

/** Words of 0.4 s; a number stands for a pause of so many seconds. */
function segments(script: readonly (string | number)[], wordSeconds = 0.4): Segment[] {
  const segmenter = new Segmenter();
  const done: Segment[] = [];
  let at = 0;
  for (const entry of script) {
    const end = at + (typeof entry === 'number' ? entry : wordSeconds) * SAMPLE_RATE;
    if (typeof entry === 'string') done.push(...segmenter.push([{ text: entry, tokens: [1], start: at, end, probability: 1 }]));
    at = end;
  }
  return [...done, ...segmenter.flush()];
}

const texts = (script: readonly (string | number)[], wordSeconds?: number): string[] =>
  segments(script, wordSeconds).map(({ words }) => joinWords(words));
const words = (text: string): string[] => text.split(/(?= )/u);

describe('segments', () => {
  test('end with a sentence, but not after its first moment', () => {
    assert.deepEqual(texts(words(' Mr. Fox ran over the hill. He was "quick." And gone')), [
      'Mr. Fox ran over the hill.',
      'He was "quick." And gone',
    ]);
  });

  test('end at a pause of a second', () => {
    assert.deepEqual(texts([' one', 0.9, ' two', 1, ' three']), ['one two', 'three']);
  });

  test('last at most 10 s and 80 columns, and break after a clause where one ends in the second half', () => {
    const long = words(` ${'word '.repeat(60).trim()}`);
    assert.ok(segments(long, 0.6).every(({ start, end }) => end - start <= 10 * SAMPLE_RATE));
    assert.ok(texts(long, 0.1).every((text) => text.length <= 80));
    const clause = texts([...words(` ${'word '.repeat(9)}pause, ${'then '.repeat(9).trim()}`)]);
    assert.ok(clause[0]!.endsWith('pause,'), clause[0]);
  });

  test('keep text that goes on with the word before', () => {
    assert.deepEqual(texts([' all', ' of', ' the', ' end.', "'s", ' new']), ["all of the end.'s new"]);
  });

  test('break scripts without spaces, whose characters are twice as wide', () => {
    const shown = texts([...'春'.repeat(100)], 0.05);
    assert.deepEqual(
      shown.map((text) => text.length),
      [40, 40, 20],
    );
  });

  test('are long enough to see and do not overlap', () => {
    const shown = segments([' now', 1.2, ' then', 0.1, ' last'], 0.01);
    assert.deepEqual(
      shown.map(({ start, end }) => (end - start) / SAMPLE_RATE >= 0.5),
      [true, true],
    );
    assert.ok(shown[0]!.end <= shown[1]!.start);
  });
});

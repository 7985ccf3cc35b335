// Words from tokens: punctuation stays with its word, nothing is lost, and times stay inside the audio.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { testModelDir } from '../../test/models.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import type { DecodedText } from './decode.ts';
import { allPositions, SAMPLES_PER_POSITION } from './positions.ts';
import type { Word } from './transcriber.ts';
import { attachPunctuation, timedWords } from './words.ts';

/** One word a piece, 100 samples each; the probability tells the pieces apart. */
function wordsOf(...texts: readonly string[]): Word[] {
  return texts.map((text, i) => ({ text, tokens: [i], start: i * 100, end: i * 100 + 100, probability: (i + 1) / 100 }));
}

test('closing punctuation joins the word before it, opening punctuation the word after it', () => {
  const table: readonly [readonly string[], readonly string[]][] = [
    [
      [' Hello', ',', ' world', '.'],
      [' Hello,', ' world.'],
    ],
    [[' wait', '.', '.', '.'], [' wait...']],
    [
      [' He', ' said', ',', ' "', 'No', '.', '"'],
      [' He', ' said,', ' "No."'],
    ],
    [
      [' (', 'very', ')', ' odd'],
      [' (very)', ' odd'],
    ],
    [[' ¿', 'Qué', '?'], [' ¿Qué?']],
    [
      ['你', '好', '。', '吗', '？'],
      ['你', '好。', '吗？'],
    ],
    [
      [' end', ' "'],
      [' end', ' "'],
    ],
    [
      [' (', ' [', 'a'],
      [' (', ' [a'],
    ],
    [
      ['.', ' So'],
      ['.', ' So'],
    ],
    [['"'], ['"']],
    [[' -', ' yes'], [' - yes']],
    [[], []],
  ];
  for (const [before, after] of table) {
    assert.deepEqual(
      attachPunctuation(wordsOf(...before)).map(({ text }) => text),
      after,
      before.join('|'),
    );
  }
});

test('a word keeps its own time and probability when punctuation joins it', () => {
  const [quoted] = attachPunctuation(wordsOf(' "', 'No', '.', '"'));
  assert.deepEqual(quoted, { text: ' "No."', tokens: [0, 1, 2, 3], start: 100, end: 200, probability: 0.02 });
});

test('no text and no token is lost or moved, and times stay in order', () => {
  const piece = fc.constantFrom(' a', 'b', ' "', '"', '.', ',', ' (', ')', ' -', '…', ' ', '', '。', "'", " '");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (texts) => {
      const words = wordsOf(...texts);
      const attached = attachPunctuation(words);
      assert.equal(attached.map(({ text }) => text).join(''), texts.join(''));
      assert.deepEqual(
        attached.flatMap(({ tokens }) => tokens),
        words.flatMap(({ tokens }) => tokens),
      );
      attached.forEach(({ start, end }, i) => {
        assert.ok(start <= end && start >= (attached[i - 1]?.end ?? 0));
      });
    }),
    { numRuns: 500 },
  );
});

const tokenizer = await loadTokenizer(await testModelDir('tiny.en'), { multilingual: false });

/** A decode whose alignment is bright where `borders` say each row is; row 0 is the last start token. */
function decodedText(text: string, forced: number, borders: readonly number[], stride: number): DecodedText {
  const tokens = tokenizer.encode(text);
  const rows = 1 + forced + tokens.length;
  assert.equal(borders.length, rows + 1, 'one border before each row and one after all');
  const alignment = new Float32Array(rows * stride);
  for (let r = 0; r < rows; r++) alignment.fill(10, r * stride + (borders[r] as number), r * stride + (borders[r + 1] as number));
  const logProbabilities = tokens.map((_, i) => -0.1 * (i + 1));
  return {
    tokens,
    logProbabilities: [...logProbabilities, -0.5],
    ended: true,
    noSpeechProbability: 0,
    alignment,
    alignmentRows: rows,
    positions: allPositions(stride).indices,
  };
}

test('a word starts where its first token is predicted: the row before it', () => {
  // Row r predicts token r: the start token's row holds the time of the first word.
  const decoded = decodedText(' one two three', 0, [0, 20, 40, 80, 100], 120);
  const words = timedWords({ decoded, forced: 0, heads: 1, sampleCount: 100 * SAMPLES_PER_POSITION, language: 'en' }, tokenizer);
  assert.deepEqual(
    words.map(({ text }) => text),
    [' one', ' two', ' three'],
  );
  const positions = words.map(({ start, end }) => [start / SAMPLES_PER_POSITION, end / SAMPLES_PER_POSITION]);
  for (const [i, [start, end]] of [
    [0, 20],
    [20, 40],
    [40, 80],
  ].entries()) {
    assert.ok(Math.abs((positions[i]?.[0] as number) - (start as number)) <= 1, `${positions}`);
    assert.ok(Math.abs((positions[i]?.[1] as number) - (end as number)) <= 1, `${positions}`);
  }
  assert.ok(Math.abs((words[1]?.probability as number) - Math.exp(-0.2)) < 1e-9);
});

test('forced words take their part of the audio and are not returned', () => {
  const decoded = decodedText(' three', 2, [0, 20, 40, 80, 100], 120);
  const words = timedWords({ decoded, forced: 2, heads: 1, sampleCount: 100 * SAMPLES_PER_POSITION, language: 'en' }, tokenizer);
  assert.equal(words.length, 1);
  assert.ok(Math.abs((words[0] as Word).start / SAMPLES_PER_POSITION - 40) <= 1);
});

test('times end with the audio, not with its last whole position, and not in the margin', () => {
  const sampleCount = 99 * SAMPLES_PER_POSITION + 7;
  const decoded = decodedText(' one two', 0, [0, 50, 99, 120], 120);
  const words = timedWords({ decoded, forced: 0, heads: 1, sampleCount, language: 'en' }, tokenizer);
  for (const { start, end } of words) assert.ok(0 <= start && start <= end && end <= sampleCount);
});

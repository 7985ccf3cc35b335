// The tokenizer agrees with Hugging Face's Python library on real models, and keeps its own rules on a small made one.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { testModelDir } from '../../test/models.ts';
import { loadTokenizer, type Tokenizer } from './tokenizer.ts';

interface GoldenRow {
  readonly text: string;
  readonly language: string;
  readonly tokens: readonly number[];
  readonly decoded: string;
  readonly prefixes: readonly string[];
  readonly words: readonly (readonly [text: string, tokens: readonly number[]])[];
}

const golden = JSON.parse(readFileSync(new URL('../../test/golden/tokenizer.json', import.meta.url), 'utf8')) as Record<
  string,
  readonly GoldenRow[]
>;
const root = mkdtempSync(join(tmpdir(), 'tokenizer-'));
after(() => rmSync(root, { recursive: true }));

for (const name of ['base', 'tiny.en'] as const) {
  test(`${name}: tokens, text of every prefix and words are those of the reference`, async () => {
    const tokenizer = await loadTokenizer(await testModelDir(name), { multilingual: name === 'base' });
    for (const row of golden[name]) {
      assert.deepEqual(tokenizer.encode(row.text), row.tokens, row.text);
      assert.equal(tokenizer.decode(row.tokens), row.decoded);
      for (const [index, prefix] of row.prefixes.entries()) {
        // the reference shows a character that lacks bytes as U+FFFD; the one text that means the sign itself keeps it
        const shown = tokenizer.decode(row.tokens.slice(0, index + 1));
        assert.equal(shown, prefix.replace(/\uFFFD+$/, ''), `${row.text} up to ${index}`);
      }
      const words = tokenizer.splitWords(row.tokens, row.language).map(({ text, tokens }) => [text, tokens]);
      assert.deepEqual(words, row.words, row.text);
    }
  });
}

test('special tokens are found by name: base and tiny.en have other ids', async () => {
  const base = (await loadTokenizer(await testModelDir('base'), { multilingual: true })).special;
  assert.deepEqual(
    { ...base, languageTokens: undefined },
    {
      endOfText: 50_257,
      startOfTranscript: 50_258,
      startOfPrevious: 50_361,
      noTimestamps: 50_363,
      noSpeech: 50_362,
      transcribe: 50_359,
      translate: 50_358,
      timestampBegin: 50_364,
      languageTokens: undefined,
    },
  );
  assert.equal(base.languageTokens.size, 99);
  assert.equal(base.languageTokens.get('en'), 50_259);
  assert.equal(base.languageTokens.get('haw'), 50_352);
  const english = (await loadTokenizer(await testModelDir('tiny.en'), { multilingual: false })).special;
  assert.equal(english.endOfText, 50_256);
  assert.equal(english.timestampBegin, 50_363);
  assert.equal(english.languageTokens.size, 0);
});

/** The printable stand-ins of GPT-2's byte-level alphabet, by byte. */
function byteAlphabet(): string[] {
  const printable = (byte: number): boolean => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

/** Bytes as tokens 0-255, then special tokens in the order given. */
async function madeTokenizer(dir: string, specials: readonly string[], multilingual = true): Promise<Tokenizer> {
  const path = mkdtempSync(join(root, dir));
  const file = {
    added_tokens: specials.map((content, index) => ({ id: 256 + index, content: `<|${content}|>`, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: Object.fromEntries(byteAlphabet().map((character, byte) => [character, byte])), merges: [] },
  };
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(file));
  return loadTokenizer(path, { multilingual });
}

const SPECIALS = [
  'endoftext',
  'startoftranscript',
  'en',
  'yue',
  'translate',
  'transcribe',
  'startoflm',
  'startofprev',
  'nospeech',
  'notimestamps',
  '0.00',
  '0.02',
];

test('a newer file: more languages, nospeech by its new name, timestamps listed', async () => {
  const { special } = await madeTokenizer('new-', SPECIALS);
  assert.deepEqual(
    [...special.languageTokens],
    [
      ['en', 258],
      ['yue', 259],
    ],
  );
  assert.equal(special.noSpeech, 264);
  assert.equal(special.timestampBegin, 266);
});

test('text that looks like a special token stays text, and special tokens are not text', async () => {
  const tokenizer = await madeTokenizer('smuggle-', SPECIALS);
  const tokens = tokenizer.encode('<|endoftext|>');
  assert.deepEqual(tokens, [...Buffer.from('<|endoftext|>')]);
  assert.equal(tokenizer.decode([257, 258, ...tokens, 256, 266, 9999]), '<|endoftext|>');
  assert.deepEqual(tokenizer.encode(''), []);
  assert.equal(tokenizer.decode([]), '');
  assert.deepEqual(tokenizer.splitWords([257, 266], 'en'), []);
});

test('a character at the end that lacks bytes is not shown, its tokens stay with the word before', async () => {
  const tokenizer = await madeTokenizer('partial-', SPECIALS);
  const bytes = [...Buffer.from(' hi 🎉')];
  assert.equal(tokenizer.decode(bytes.slice(0, -1)), ' hi ');
  const cut = bytes.slice(0, -2);
  const words = tokenizer.splitWords(cut, 'en');
  assert.deepEqual(
    words.flatMap(({ tokens }) => tokens),
    cut,
  );
  assert.equal(words.map(({ text }) => text).join(''), tokenizer.decode(cut));
  // bytes that can never become a character, in the middle, are shown as the reference shows them
  assert.equal(tokenizer.decode([104, 0xff, 105]), 'h\uFFFDi');
  assert.deepEqual(tokenizer.splitWords([0xf0, 0x9f], 'zh'), [{ text: '', tokens: [0xf0, 0x9f] }]);
});

test('a missing or foreign tokenizer.json is refused with what is wrong', async () => {
  await assert.rejects(loadTokenizer(root, { multilingual: true }), { code: 'model_not_found' });
  await assert.rejects(madeTokenizer('foreign-', ['endoftext']), { code: 'model_corrupt', message: /no token <\|startoftranscript\|>/ });
  const broken = mkdtempSync(join(root, 'broken-'));
  writeFileSync(join(broken, 'tokenizer.json'), '{');
  await assert.rejects(loadTokenizer(broken, { multilingual: true }), { code: 'model_corrupt', message: /not valid JSON/ });
});

// Query keys of POST /transcribe.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFileQuery } from './file-query.ts';

test('no keys give the defaults', () => {
  assert.deepEqual(
    { ...parseFileQuery({}) },
    { language: null, task: 'transcribe', word_timestamps: false, response_format: 'json', prompt: '' },
  );
});

test('given keys are read from text', () => {
  const query = parseFileQuery({ language: 'de', task: 'translate', word_timestamps: 'true', response_format: 'vtt', prompt: 'Müller' });
  assert.deepEqual({ ...query }, { language: 'de', task: 'translate', word_timestamps: true, response_format: 'vtt', prompt: 'Müller' });
});

test('a refused key is named with what was expected and what came', () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ lang: 'en' }, /^unknown key "lang"; expected one of language, task, word_timestamps, response_format, prompt$/],
    [{ language: '' }, /^language: expected one ISO 639 code such as "en", got ""$/],
    [{ language: ['en', 'de'] }, /^language: .* got an array$/],
    [{ word_timestamps: '1' }, /^word_timestamps: expected true or false, got "1"$/],
    [{ response_format: 'xml' }, /^response_format: expected one of json, text, srt, vtt, verbose_json, got "xml"$/],
    [{ task: '' }, /^task: expected one of transcribe, translate, got ""$/],
    [{ prompt: 'a'.repeat(1001) }, /^prompt: .* got a string of 1001 characters$/],
  ];
  for (const [query, message] of cases) assert.throws(() => parseFileQuery(query), { code: 'invalid_parameter', message });
});

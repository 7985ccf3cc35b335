// What the server accepts as a client's text message, and how it words a refusal.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseClientMessage } from './client-message.ts';
import { DEFAULT_STREAM_CONFIG } from './stream-config.ts';

function refusal(text: string, configAllowed = true): { code: string; message: string } {
  try {
    parseClientMessage(text, configAllowed);
  } catch (error) {
    return error as { code: string; message: string };
  }
  return assert.fail(`accepted: ${text}`);
}

test('an empty object is the default configuration', () => {
  assert.deepEqual(parseClientMessage('{}', true), { kind: 'config', config: DEFAULT_STREAM_CONFIG });
});

test('given keys replace the defaults and the others stay', () => {
  const text = '{"language":"en","chunk_duration":2,"overlap":1,"use_context":false,"encoding":"container","interim_results":true}';
  const expected = {
    ...DEFAULT_STREAM_CONFIG,
    language: 'en',
    chunk_duration: 2,
    overlap: 1,
    use_context: false,
    encoding: 'container',
    interim_results: true,
  };
  assert.deepEqual(parseClientMessage(text, true), { kind: 'config', config: expected });
});

test('the bounds of each range are inside it', () => {
  for (const text of [
    '{"chunk_duration":1}',
    '{"chunk_duration":25,"overlap":12.5}',
    '{"overlap":0}',
    '{"sample_rate":8000,"channels":8}',
    '{"sample_rate":48000,"language":null}',
  ]) {
    assert.equal(parseClientMessage(text, true).kind, 'config', text);
  }
});

test('a refused configuration names the key, what was expected and what came', () => {
  const cases: [string, RegExp][] = [
    ['{"chunk_length":5}', /unknown key "chunk_length"; expected one of language, chunk_duration,/],
    ['{"__proto__":5}', /unknown key "__proto__"/],
    ['{"constructor":5}', /unknown key "constructor"/],
    ['{"chunk_duration":"5"}', /^chunk_duration: expected a number from 1 to 25, got "5"$/],
    ['{"chunk_duration":0.5}', /^chunk_duration: expected a number from 1 to 25, got 0.5$/],
    ['{"chunk_duration":25.1}', /^chunk_duration: .* got 25.1$/],
    ['{"chunk_duration":1e999}', /^chunk_duration: .* got Infinity$/],
    ['{"chunk_duration":null}', /^chunk_duration: .* got null$/],
    ['{"overlap":-1}', /^overlap: expected a number from 0 to half of chunk_duration, got -1$/],
    ['{"overlap":2,"chunk_duration":3}', /^overlap: expected a number from 0 to half of chunk_duration \(1.5\), got 2$/],
    ['{"use_context":1}', /^use_context: expected true or false, got 1$/],
    ['{"language":"English"}', /^language: expected an ISO 639 code such as "en", or null, got "English"$/],
    ['{"language":["en"]}', /^language: .* got an array$/],
    ['{"encoding":"opus"}', /^encoding: expected one of pcm_s16le, pcm_f32le, mulaw, alaw, container, got "opus"$/],
    ['{"sample_rate":16000.5}', /^sample_rate: expected a whole number from 8000 to 48000, got 16000.5$/],
    ['{"sample_rate":96000}', /^sample_rate: .* got 96000$/],
    ['{"channels":0}', /^channels: expected a whole number from 1 to 8, got 0$/],
    ['{"task":{}}', /^task: expected one of transcribe, translate, got an object$/],
    [`{"prompt":"${'a'.repeat(1001)}"}`, /^prompt: expected a string of at most 1000 characters, got a string of 1001 characters$/],
    ['{"resume":"token"}', /^resume: .* not supported yet/],
  ];
  for (const [text, message] of cases) {
    const error = refusal(text);
    assert.equal(error.code, 'invalid_config', text);
    assert.match(error.message, message);
  }
});

test('a message that is not a JSON object is refused without being quoted', () => {
  assert.equal(refusal('{"chunk_duration":').code, 'invalid_json');
  assert.equal(refusal('').code, 'invalid_json');
  assert.doesNotMatch(refusal('my secret words').message, /secret/);
  for (const text of ['null', '5', '"text"', '[]']) assert.equal(refusal(text).code, 'invalid_message', text);
});

test('control messages are known by their type', () => {
  for (const type of ['finalize', 'keep_alive', 'end']) {
    assert.deepEqual(parseClientMessage(JSON.stringify({ type }), false), { kind: 'control', type });
  }
  assert.match(refusal('{"type":"stop"}').message, /type: expected one of finalize, keep_alive, end, got "stop"/);
  assert.match(refusal('{"type":7}').message, /got 7/);
  assert.match(refusal('{"type":"end","when":"now"}').message, /unknown key "when"/);
});

test('a configuration after the start is refused', () => {
  const error = refusal('{"chunk_duration":5}', false);
  assert.equal(error.code, 'invalid_message');
  assert.match(error.message, /must be the first message/);
});

// Variables of the environment: what counts as unset, and how many container streams the thread pool carries.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maxContainerStreams, removeUnset } from './environment.ts';

test('container streams leave four threads of the pool free, and one stream is always possible', () => {
  for (const [size, expected] of [
    ['64', 60],
    ['5', 1],
    ['4', 1],
    ['1', 1],
    ['many', 1],
    ['-3', 1],
    ['5000', 1020],
    ['', 1],
    [undefined, 1],
  ] as const) {
    assert.equal(maxContainerStreams({ UV_THREADPOOL_SIZE: size }), expected, `UV_THREADPOOL_SIZE=${size}`);
  }
});

test('empty variables are unset, those of flags with 0 or false too, and others are left alone', () => {
  const variables = {
    WHISPER_PORT: '0',
    WHISPER_HOST: '',
    WHISPER_QUIET: '0',
    WHISPER_WORD_TIMESTAMPS: 'FALSE',
    WHISPER_VERBOSE: 'yes',
    OTHER: '',
  };
  removeUnset(variables, ['WHISPER_QUIET', 'WHISPER_WORD_TIMESTAMPS', 'WHISPER_VERBOSE']);
  assert.deepEqual(variables, { WHISPER_PORT: '0', WHISPER_VERBOSE: 'yes', OTHER: '' });
});

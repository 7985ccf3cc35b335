// The registry of error codes and its documentation say the same.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { ERROR_CODES, toWhisperError, WhisperError } from './errors.ts';

interface Row {
  readonly code: string;
  readonly httpStatus: number;
  readonly closeCode: number;
  readonly meaning: string;
}

test('docs/errors.md lists exactly the codes of the registry, with their numbers and meanings', async () => {
  const page = await readFile(new URL('../../docs/errors.md', import.meta.url), 'utf8');
  const documented: Row[] = [...page.matchAll(/^\| `(\w+)` \| (\d+) \| (\d+) \| (.+) \|$/gm)].map(
    ([, code = '', status, close, meaning = '']) => ({
      code,
      httpStatus: Number(status),
      closeCode: Number(close),
      meaning,
    }),
  );
  const registered: Row[] = Object.entries(ERROR_CODES).map(([code, info]) => ({ code, ...info }));
  assert.deepEqual(documented, registered);
});

test('a foreign error becomes internal and tells nothing of itself', () => {
  const cause = new TypeError('secret');
  const error = toWhisperError(cause);
  assert.equal(error.code, 'internal');
  assert.doesNotMatch(error.message, /secret/);
  assert.equal(error.cause, cause);
});

test('an abort becomes cancelled, and a WhisperError stays as it is', () => {
  assert.equal(toWhisperError(AbortSignal.abort().reason).code, 'cancelled');
  const error = new WhisperError('overloaded', 'full', { retryAfterSeconds: 3 });
  assert.equal(toWhisperError(error), error);
});

// The load test's Python is checked with the rest: its linter, formatter, types and tests, by the tools that its pyproject.toml pins.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { before, test } from 'node:test';
import { locustPython, SCRIPTS_FOLDER } from './locust.ts';

const TIMEOUT_MS = 5 * 60_000;

let python: string;

before(async () => {
  python = await locustPython();
});

/** Fails with all that the tool wrote. */
async function run(...args: string[]): Promise<void> {
  const { code, output } = await new Promise<{ code: unknown; output: string }>((resolve) => {
    const options = { cwd: SCRIPTS_FOLDER, timeout: TIMEOUT_MS, maxBuffer: 2 ** 26 };
    execFile(python, ['-m', ...args], options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : (error.code ?? error.signal), output: `${stdout}${stderr}` }),
    );
  });
  assert.equal(code, 0, `${args.join(' ')}:\n${output}`);
}

test('ruff finds nothing', () => run('ruff', 'check'));

test('ruff would format nothing otherwise', () => run('ruff', 'format', '--check'));

test('mypy finds nothing', () => run('mypy'));

test('pytest is green', () => run('pytest', '--quiet'));

// The load test's Python is checked with the rest: its linter, formatter, types and tests, by the tools that its pyproject.toml pins.

import { before, test } from 'node:test';
import { locustPython, SCRIPTS_FOLDER } from './locust.ts';
import { runPythonTool } from './python-tool.ts';

const TIMEOUT_MS = 5 * 60_000;

let python: string;

before(async () => {
  python = await locustPython();
});

const run = (...args: string[]): Promise<void> => runPythonTool({ python, folder: SCRIPTS_FOLDER, timeoutMs: TIMEOUT_MS }, ...args);

test('ruff finds nothing', () => run('ruff', 'check'));

test('ruff would format nothing otherwise', () => run('ruff', 'format', '--check'));

test('mypy finds nothing', () => run('mypy'));

test('pytest is green', () => run('pytest', '--quiet'));

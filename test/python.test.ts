// The Python side is checked with the rest: its linter, formatter, types and tests, by the tools that its pyproject.toml pins.

import { before, test } from 'node:test';
import { PYTHON_FOLDER } from '../src/cli/ray/ray-environment.ts';
import { runPythonTool } from './python-tool.ts';
import { testPython } from './ray-environment.ts';

const TIMEOUT_MS = 10 * 60_000;

let python: string;

before(async () => {
  ({ python } = await testPython());
});

const run = (...args: string[]): Promise<void> => runPythonTool({ python, folder: PYTHON_FOLDER, timeoutMs: TIMEOUT_MS }, ...args);

test('ruff finds nothing', () => run('ruff', 'check'));

test('ruff would format nothing otherwise', () => run('ruff', 'format', '--check'));

test('mypy finds nothing', () => run('mypy'));

test('pytest is green', () => run('pytest', '--quiet'));

// The runner is red on whatever did not really run, and counts what did.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const projectRoot = fileURLToPath(new URL('..', import.meta.url));
const PASSING = "import { test } from 'node:test';\ntest('a', () => {});\n";

interface Run {
  readonly exitCode: number | null;
  readonly lastLine: string;
  readonly problems: string;
}

async function runner(files: Readonly<Record<string, string>>, args: readonly string[] = []): Promise<Run> {
  const root = await mkdtemp(join(tmpdir(), 'runner-'));
  try {
    for (const [file, source] of Object.entries(files)) {
      await mkdir(dirname(join(root, file)), { recursive: true });
      await writeFile(join(root, file), source);
    }
    // NODE_TEST_CONTEXT would make the inner runner speak to this one.
    const { NODE_TEST_CONTEXT: _outer, ...env } = process.env;
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/run.ts', '--root', root, ...args], { cwd: projectRoot, env });
    let stdout = '';
    let problems = '';
    child.stdout.on('data', (chunk) => (stdout += chunk));
    child.stderr.on('data', (chunk) => (problems += chunk));
    const exitCode = await new Promise<number | null>((resolve) => child.on('close', resolve));
    return { exitCode, lastLine: stdout.trimEnd().split('\n').at(-1) ?? '', problems };
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

test('passing files are green, with the count as the last line', async () => {
  const result = await runner({ 'src/core/a.test.ts': PASSING, 'test/e2e/b.test.ts': PASSING });
  assert.deepEqual(result, { exitCode: 0, lastLine: '2 passed, 0 failed, 0 skipped', problems: '' });
});

test('--unit leaves out what starts servers and browsers; a filter picks files', async () => {
  const files = { 'src/core/a.test.ts': PASSING, 'src/core/b.test.ts': PASSING, 'test/e2e/b.test.ts': PASSING };
  assert.equal((await runner(files, ['--unit'])).lastLine, '2 passed, 0 failed, 0 skipped');
  assert.equal((await runner(files, ['core/b'])).lastLine, '1 passed, 0 failed, 0 skipped');
});

const RED: ReadonlyArray<readonly [string, Readonly<Record<string, string>>, RegExp]> = [
  ['a failing test', { 'src/a.test.ts': `${PASSING}test('b', () => { throw new Error('x'); });\n` }, /b: failed/],
  ['no tests at all', {}, /nothing was tested/],
  ['a file without tests', { 'src/a.test.ts': PASSING, 'src/b.test.ts': 'export {};\n' }, /b\.test\.ts: has no tests/],
  ['a file that does not load', { 'src/a.test.ts': PASSING, 'src/b.test.ts': "throw new Error('x');\n" }, /b\.test\.ts/],
  ['a focused test', { 'src/a.test.ts': `${PASSING}test.only('b', () => {});\n` }, /focused/],
  ['a skip without a reason', { 'src/a.test.ts': `${PASSING}test.skip('b', () => {});\n` }, /without an accepted reason/],
  ['a skip for another reason', { 'src/a.test.ts': `${PASSING}test('b', { skip: 'flaky' }, () => {});\n` }, /flaky/],
  ['a todo', { 'src/a.test.ts': `${PASSING}test.todo('b');\n` }, /todo/],
  [
    'an error after the tests',
    { 'src/a.test.ts': `${PASSING}process.on('exit', () => { process.exitCode = 3; });\n` },
    /exited with an error/,
  ],
];

for (const [name, files, problem] of RED) {
  test(`red on ${name}`, async () => {
    const result = await runner(files);
    assert.equal(result.exitCode, 1);
    assert.match(result.problems, problem);
    assert.match(result.lastLine, /^\d+ passed, \d+ failed, \d+ skipped$/);
  });
}

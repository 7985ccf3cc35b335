// The test runner behind `npm test`: finds the test files, runs them, and is red on anything that did not really run.
//
//   node --import tsx test/run.ts [--unit] [--root FOLDER] [FILTER…]      a FILTER is a part of a file's path

import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

const projectRoot = fileURLToPath(new URL('..', import.meta.url));

const TEST_FOLDERS = ['src', 'test', 'client', 'bench'];

/** Files that start servers and browsers, or measure time: one at a time, after the others, and not with --unit. */
const isHeavy = (path: string): boolean => path.startsWith('test/e2e/') || path.includes('browser');

const UNIT_CONCURRENCY = 2;
const FILE_TIMEOUT_MS = 8 * 60_000;

/** How a skip's reason may begin, and whether what it says it needs is really missing. */
const ALLOWED_SKIPS: Readonly<Record<string, () => boolean>> = {
  'needs ../shared': () => !existsSync(join(projectRoot, '..', 'shared', 'corpus')),
};

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  /** Why the run is red although no test may have failed. */
  readonly problems: string[];
}

async function findTestFiles(root: string): Promise<string[]> {
  const found: string[] = [];
  for (const folder of TEST_FOLDERS) {
    if (!existsSync(join(root, folder))) continue;
    const entries = await readdir(join(root, folder), { recursive: true });
    for (const entry of entries) if (entry.endsWith('.test.ts')) found.push(`${folder}/${entry.split(sep).join('/')}`);
  }
  return found.sort();
}

function problemOfSkip(reason: string | boolean): string | null {
  const text = typeof reason === 'string' ? reason : '';
  const start = Object.keys(ALLOWED_SKIPS).find((allowed) => text.startsWith(allowed));
  if (start === undefined) return `skipped without an accepted reason (${text || 'none given'})`;
  return ALLOWED_SKIPS[start]?.() ? null : `skipped with "${text}", but that is there`;
}

/** Runs the files, prints them as they go, and adds what happened to the tally. */
async function runFiles(root: string, files: readonly string[], concurrency: number, tally: Tally): Promise<void> {
  if (files.length === 0) return;
  const paths = files.map((file) => join(root, file));
  const filesWithTests = new Set<string>();
  const stream = run({ files: paths, concurrency, timeout: FILE_TIMEOUT_MS });
  const where = (file: string | undefined, name: string): string => `${file === undefined ? '' : `${relative(root, file)}: `}${name}`;

  const isFile = (data: { file?: string; name: string }): boolean => data.name === data.file;
  const isSuite = (data: { details: { type?: string | undefined } }): boolean => data.details.type === 'suite';

  stream.on('test:pass', (data) => {
    if (isFile(data) || isSuite(data)) return;
    if (data.file !== undefined) filesWithTests.add(data.file);
    if (data.todo !== undefined) tally.problems.push(`${where(data.file, data.name)}: a todo is not a test`);
    else if (data.skip !== undefined) {
      tally.skipped++;
      const problem = problemOfSkip(data.skip);
      if (problem !== null) tally.problems.push(`${where(data.file, data.name)}: ${problem}`);
    } else tally.passed++;
  });
  stream.on('test:fail', (data) => {
    if (data.file !== undefined) filesWithTests.add(data.file);
    if (!isSuite(data)) tally.failed++;
    tally.problems.push(`${where(data.file, isFile(data) ? 'the file' : data.name)}: failed`);
  });
  stream.on('test:complete', (data) => {
    // A process may exit red after its tests passed, for instance by an unhandled rejection.
    if (isFile(data) && !data.details.passed) tally.problems.push(`${where(data.file, 'the file')}: exited with an error`);
  });
  stream.on('test:diagnostic', (data) => {
    if (data.message.includes('--test-only')) tally.problems.push(`${where(data.file, 'only')}: a focused test hides the others`);
  });

  for await (const chunk of stream.compose(new spec())) process.stdout.write(chunk);
  for (const path of paths) if (!filesWithTests.has(path)) tally.problems.push(`${relative(root, path)}: has no tests`);
}

async function main(args: readonly string[]): Promise<void> {
  const unitOnly = args.includes('--unit');
  const rootAt = args.indexOf('--root');
  const root = rootAt === -1 ? projectRoot : (args[rootAt + 1] ?? '');
  const filters = args.filter((arg, index) => !arg.startsWith('--') && (rootAt === -1 || index !== rootAt + 1));

  const all = await findTestFiles(root);
  const files = all.filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)));
  const tally: Tally = { passed: 0, failed: 0, skipped: 0, problems: [] };
  await runFiles(
    root,
    files.filter((file) => !isHeavy(file)),
    UNIT_CONCURRENCY,
    tally,
  );
  if (!unitOnly) await runFiles(root, files.filter(isHeavy), 1, tally);

  if (tally.passed === 0) tally.problems.push('no test passed: nothing was tested');
  for (const problem of new Set(tally.problems)) console.error(`red: ${problem}`);
  console.log(`${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
  process.exitCode = tally.problems.length === 0 ? 0 : 1;
}

// As src/cli/launch.cts does for users
process.env.ORT_DISABLE_TELEMETRY ||= '1';
await main(process.argv.slice(2));

// The load test for tests: its virtual environment in the cache folder, and runs of Locust without its page.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';
import { defaultCacheDir } from '../src/cli/environment.ts';
import { ensureVirtualEnvironment } from '../src/cli/python.ts';

export const SCRIPTS_FOLDER = fileURLToPath(new URL('../scripts', import.meta.url));

/** Locust's own minimum. */
const MINIMUM_PYTHON = [3, 11] as const;
const KEPT_OUTPUT_CHARACTERS = 100_000;

export interface LocustOptions {
  /** @default 4 */
  readonly users?: number;
  /** Users that begin in a second. @default all at once */
  readonly spawnRate?: number;
  /** @default 15 */
  readonly runSeconds?: number;
  /** More of the command line, for instance `['--rest-share', '0']`. @default [] */
  readonly args?: readonly string[];
  readonly signal?: AbortSignal;
}

/** A line of Locust's statistics. Times are milliseconds, unless the name says otherwise. */
export interface LocustStatistic {
  readonly count: number;
  readonly failures: number;
  readonly average: number;
  readonly p50: number;
  readonly p95: number;
  readonly max: number;
}

export interface LocustRun {
  /** Null after a signal. */
  readonly exitCode: number | null;
  /** What it wrote, the summary last. */
  readonly output: string;
  /** By type and name, for instance `WS /stream word-final latency ms`. */
  readonly statistics: ReadonlyMap<string, LocustStatistic>;
  /** Type, name and error of each kind of failure. */
  readonly failures: readonly string[];
  /** The report. */
  readonly html: string;
}

/** The interpreter of an environment with Locust and the tools of scripts/pyproject.toml. The first call takes a minute, and PyPI. */
export async function locustPython(signal?: AbortSignal): Promise<string> {
  const lines = (await readFile(join(SCRIPTS_FOLDER, 'requirements.txt'), 'utf8')).split('\n');
  const { project } = parse(await readFile(join(SCRIPTS_FOLDER, 'pyproject.toml'), 'utf8')) as unknown as {
    project: { 'optional-dependencies': { dev: string[] } };
  };
  const requirements = [...lines.filter((line) => line !== '' && !line.startsWith('#')), ...project['optional-dependencies'].dev];
  // Named by its contents, so that two versions of the project do not undo each other's
  const hash = createHash('sha256').update(requirements.join('\n')).digest('hex').slice(0, 8);
  const folder = join(process.env.WHISPER_CACHE || defaultCacheDir(), `load-test-venv-${hash}`);
  return ensureVirtualEnvironment({ folder, requirements, minimumVersion: MINIMUM_PYTHON, ...(signal !== undefined && { signal }) });
}

/** Runs the load test against a service, to its end, as `locust --headless` does. */
export async function runLocust(url: string, options: LocustOptions = {}): Promise<LocustRun> {
  const { users = 4, spawnRate = users, runSeconds = 15, args = [], signal } = options;
  const python = await locustPython(signal);
  const folder = await mkdtemp(join(tmpdir(), 'locust-'));
  try {
    const reports = ['--html', join(folder, 'report.html'), '--csv', join(folder, 'out'), '--only-summary'];
    const load = ['--users', users, '--spawn-rate', spawnRate, '--run-time', `${runSeconds}s`].map(String);
    const command = ['-m', 'locust', '-f', 'locustfile.py', '--headless', '--host', url, ...load, ...reports, ...args];
    const child = spawn(python, command, { cwd: SCRIPTS_FOLDER, stdio: ['ignore', 'pipe', 'pipe'], ...(signal && { signal }) });
    let output = '';
    const read = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-KEPT_OUTPUT_CHARACTERS);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    const exitCode = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    const file = (name: string): Promise<string> => readFile(join(folder, name), 'utf8').catch(() => '');
    return {
      exitCode,
      output,
      statistics: new Map(csvRows(await file('out_stats.csv')).map((row) => [`${row.Type} ${row.Name}`.trim(), statisticOf(row)])),
      failures: csvRows(await file('out_failures.csv')).map((row) => `${row.Method} ${row.Name}: ${row.Error}`),
      html: await file('report.html'),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function statisticOf(row: Readonly<Record<string, string>>): LocustStatistic {
  const number = (name: string): number => Number(row[name]);
  return {
    count: number('Request Count'),
    failures: number('Failure Count'),
    average: number('Average Response Time'),
    p50: number('50%'),
    p95: number('95%'),
    max: number('Max Response Time'),
  };
}

/** RFC 4180, without line breaks in fields: objects by the names in the first row. */
function csvRows(text: string): Record<string, string>[] {
  const rows = text
    .split(/\r?\n/)
    .filter((line) => line !== '')
    .map((line) =>
      [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, bare]) => quoted?.replaceAll('""', '"') ?? bare ?? ''),
    );
  const [names = [], ...values] = rows;
  return values.map((row) => Object.fromEntries(names.map((name, at) => [name, row[at] ?? ''])));
}

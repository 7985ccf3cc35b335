// What a benchmark leaves behind: a table on the screen and a JSON file that says how it was measured.

import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus, loadavg, totalmem } from 'node:os';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Row } from './targets.ts';

const execute = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));

/** The state of the sources and of the machine. Read once at the start: a load of others' shows there. */
export async function environmentOf(versions: Readonly<Record<string, string>>): Promise<Record<string, unknown>> {
  const git = async (...args: string[]): Promise<string> => (await execute('git', args, { cwd: root })).stdout.trim();
  const packages = JSON.parse(await readFile(`${root}/package.json`, 'utf8')) as { version: string; dependencies: Record<string, string> };
  return {
    date: new Date().toISOString(),
    command: `node --import tsx ${relative(process.cwd(), process.argv[1] ?? '')} ${process.argv.slice(2).join(' ')}`.trim(),
    commit: await git('rev-parse', '--short', 'HEAD').catch(() => 'unknown'),
    dirty: (await git('status', '--porcelain', '--', 'src', 'package-lock.json').catch(() => '')) !== '',
    machine: { cpu: cpus()[0]?.model, cores: cpus().length, memoryGiB: Math.round(totalmem() / 2 ** 30), loadAverage1m: loadavg()[0] },
    versions: {
      'whisper-streaming': packages.version,
      node: process.version,
      'onnxruntime-node': packages.dependencies['onnxruntime-node'],
      ...versions,
    },
  };
}

const figure = (value: number | null, unit: string): string => {
  if (value === null) return '';
  return unit === 'words' || unit === 'clips' || unit === 'ms' || unit === 'MB' ? value.toFixed(0) : value.toFixed(2);
};

export function formatTable(rows: readonly Row[]): string {
  const ratio = ({ ours, reference }: Row): string => (reference === null || reference === 0 ? '' : (ours / reference).toFixed(2));
  const verdict = ({ pass }: Row): string => (pass === null ? '' : pass ? 'pass' : 'FAIL');
  const lines = [
    ['measure', 'unit', 'ours', 'faster-whisper', 'ratio', 'target', ''],
    ...rows.map((row) => [
      row.name,
      row.unit,
      figure(row.ours, row.unit),
      figure(row.reference, row.unit),
      ratio(row),
      row.target,
      verdict(row),
    ]),
  ];
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => (column > 1 && column < 5 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Writes the result; returns its path. `name` is used where `out` is null. */
export async function writeResult(
  out: string | null,
  name: string,
  result: { environment: Record<string, unknown> } & Record<string, unknown>,
): Promise<string> {
  const day = String(result.environment.date).slice(0, 10);
  const path = out ?? `${root}/bench/results/${day}-${result.environment.commit}-${name}.json`;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${JSON.stringify(result, null, 1)}\n`);
  return path;
}

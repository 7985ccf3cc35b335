// Runs bench/gpu.sh for tests, as a person does.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { AllResults } from './results.ts';

const script = fileURLToPath(new URL('../gpu.sh', import.meta.url));

export interface ScriptRun {
  readonly code: unknown;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

export async function runGpuScript(...args: string[]): Promise<ScriptRun> {
  const startMs = performance.now();
  const { OUT: _, ...env } = process.env;
  return new Promise((resolve) => {
    execFile('bash', [script, ...args], { env, maxBuffer: 1e8 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, stdout, stderr, seconds: (performance.now() - startMs) / 1000 }),
    );
  });
}

/** What it wrote, of the file that it names. */
export function resultOf({ stderr, stdout }: ScriptRun): AllResults {
  const path = stdout.split('\n').find((line) => line.endsWith('.json'));
  assert.ok(path, `${stdout}${stderr}`);
  return JSON.parse(readFileSync(path, 'utf8')) as AllResults;
}

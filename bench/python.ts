// The benchmark's Python side: a virtual environment of its own, and processes that answer JSON lines.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ensureVirtualEnvironment } from '../src/cli/python.ts';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Makes .cache/bench-venv from requirements.txt unless it is there and up to date. Returns its Python. Needs python3 and PyPI. */
export async function benchPython(signal?: AbortSignal): Promise<string> {
  const lines = (await readFile(at('requirements.txt'), 'utf8')).split('\n');
  const requirements = lines.filter((line) => line !== '' && !line.startsWith('#'));
  return ensureVirtualEnvironment({ folder: at('../.cache/bench-venv'), requirements, ...(signal !== undefined && { signal }) });
}

/** One Python script that answers each line of JSON with a line of JSON, in order. */
export class PythonWorker {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #lines: Interface;
  readonly #waiting: { resolve: (answer: any) => void; reject: (error: Error) => void }[] = [];
  #failure: Error | null = null;

  /** @param script file name in bench/ */
  constructor(python: string, script: string, environment: Readonly<Record<string, string>> = {}) {
    this.#process = spawn(python, [at(script)], { env: { ...process.env, ...environment } });
    this.#process.stderr.pipe(process.stderr);
    this.#lines = createInterface({ input: this.#process.stdout });
    this.#lines.on('line', (line) => {
      const { error, ...answer } = JSON.parse(line) as { error?: string };
      const waiting = this.#waiting.shift();
      if (error === undefined) waiting?.resolve(answer);
      else waiting?.reject(new Error(`${script}: ${error}`));
    });
    const fail = (error: Error): void => {
      this.#failure = error;
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    };
    this.#process.on('error', fail);
    this.#process.on('exit', (code) => fail(new Error(`${script} exited with ${code}`)));
  }

  async request<Answer>(message: object): Promise<Answer> {
    if (this.#failure !== null) throw this.#failure;
    const answer = new Promise<Answer>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#process.stdin.write(`${JSON.stringify(message)}\n`);
    return answer;
  }

  /** Idempotent. */
  close(): void {
    this.#process.stdin.end();
    this.#process.kill();
  }
}

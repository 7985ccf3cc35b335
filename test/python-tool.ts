// Tools of Python as tests: what a folder's pyproject.toml pins is run in that folder.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';

export interface PythonTool {
  /** Of an environment that has the tool. */
  readonly python: string;
  readonly folder: string;
  readonly timeoutMs: number;
}

/** Fails with all that the tool wrote. @param args the module, and what it is told */
export async function runPythonTool({ folder, python, timeoutMs }: PythonTool, ...args: string[]): Promise<void> {
  const { code, output } = await new Promise<{ code: unknown; output: string }>((resolve) => {
    const options = { cwd: folder, timeout: timeoutMs, maxBuffer: 2 ** 26 };
    execFile(python, ['-m', ...args], options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : (error.code ?? error.signal), output: `${stdout}${stderr}` }),
    );
  });
  assert.equal(code, 0, `${args.join(' ')}:\n${output}`);
}

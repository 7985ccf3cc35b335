// Python with Ray and the tools of python/ for tests: a virtual environment in the cache folder, made by the first test that asks.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { defaultCacheDir } from '../src/cli/environment.ts';
import { ensureVirtualEnvironment } from '../src/cli/python.ts';
import { readPythonRequirements } from '../src/cli/ray/requirements.ts';

export interface TestPython {
  /** Path of the interpreter. */
  readonly python: string;
  /** Folder of the environment: for `ray start --venv`, which finds all it needs in it. */
  readonly folder: string;
}

/** Named by its contents, so that two versions of the project do not undo each other's. The first call takes a minute, and PyPI. */
export async function testPython(signal?: AbortSignal): Promise<TestPython> {
  const { minimumVersion, requirements } = await readPythonRequirements(['dev']);
  const hash = createHash('sha256').update(requirements.join('\n')).digest('hex').slice(0, 8);
  const folder = join(process.env.WHISPER_CACHE || defaultCacheDir(), `ray-venv-test-${hash}`);
  const python = await ensureVirtualEnvironment({ folder, requirements, minimumVersion, ...(signal !== undefined && { signal }) });
  return { python, folder };
}

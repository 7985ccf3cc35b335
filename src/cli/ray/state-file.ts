// What `ray start` leaves for `ray stop` and `ray status`: which Ray is whose, and where.

import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isAlive, type ProcessIdentity } from './process-identity.ts';

export interface RayState {
  /** `ray start --block`, where it is ours; null where Ray belongs to somebody else, and we put applications there. */
  readonly head: ProcessIdentity | null;
  /** Ray's temporary folder with its logs; null where Ray is not ours. */
  readonly folder: string | null;
  readonly dashboardUrl: string;
  readonly serviceUrl: string;
  /** Prometheus, every Ray process and every replica. */
  readonly metricsUrl: string;
  /** Names of our applications. */
  readonly applications: readonly string[];
}

export const statePath = (cacheDir: string): string => join(cacheDir, 'ray', 'state.json');

/** Null where there is none or none that can be read. */
export async function readState(cacheDir: string): Promise<RayState | null> {
  try {
    const state = JSON.parse(await readFile(statePath(cacheDir), 'utf8')) as RayState;
    return typeof state.dashboardUrl === 'string' && Array.isArray(state.applications) ? state : null;
  } catch {
    return null;
  }
}

export async function writeState(cacheDir: string, state: RayState): Promise<void> {
  const path = statePath(cacheDir);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`);
  await rename(`${path}.new`, path);
}

export const removeState = (cacheDir: string): Promise<void> => rm(statePath(cacheDir), { force: true });

/** False for our own Ray that has died; of somebody else's the file knows nothing. */
export const mayRun = (state: RayState): boolean => state.head === null || isAlive(state.head);

// What `ray start` leaves for `ray stop` and `ray status`: which Ray is whose, and where.

import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isAlive, type ProcessIdentity } from './process-identity.ts';

export interface OwnRay {
  /** `ray start --block`. */
  readonly head: ProcessIdentity;
  /** Its sockets and logs. */
  readonly folder: string;
}

export interface RayState {
  /** Null where Ray belongs to somebody else, and only the applications are ours. */
  readonly own: OwnRay | null;
  readonly dashboardUrl: string;
  readonly serviceUrl: string;
  /** Prometheus, every Ray process and every replica. */
  readonly metricsUrl: string;
  /** Names of our applications. */
  readonly applications: readonly string[];
  /** `ray stop` is at it: whoever waits for Ray need not wonder why it ends. @default false */
  readonly isStopping?: boolean;
}

/** One Ray for each port of a dashboard. */
export interface StateKey {
  readonly cache: string;
  readonly dashboardPort: number;
}

const statePath = ({ cache, dashboardPort }: StateKey): string => join(cache, 'ray', `${dashboardPort}.json`);

/** Null where there is none or none that can be read. */
export async function readState(key: StateKey): Promise<RayState | null> {
  try {
    const state = JSON.parse(await readFile(statePath(key), 'utf8')) as RayState;
    return typeof state.dashboardUrl === 'string' && Array.isArray(state.applications) ? state : null;
  } catch {
    return null;
  }
}

export async function writeState(key: StateKey, state: RayState): Promise<void> {
  const path = statePath(key);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`);
  await rename(`${path}.new`, path);
}

/** Of the state as it is once Ray has ended: whether somebody wanted that. */
export const wasStopped = (state: RayState | null): boolean => state === null || state.isStopping === true;

export const removeState = (key: StateKey): Promise<void> => rm(statePath(key), { force: true });

/** False for our own Ray that has died; of somebody else's the file knows nothing. */
export const mayRun = (state: RayState): boolean => state.own === null || isAlive(state.own.head);

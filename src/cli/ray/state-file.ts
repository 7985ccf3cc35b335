// What `ray start` leaves for `ray stop` and `ray status`: which Ray is whose, and where.

import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { lock } from 'proper-lockfile';
import { CommandError } from '../command-error.ts';
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

const LOCK_STALE_MS = 10_000;

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

/**
 * Held by a `ray start` until its Ray is ready, so that a second one for the same dashboard is refused. Resolves to what lets go of it;
 * that may be called again.
 */
export async function lockState(key: StateKey): Promise<() => Promise<void>> {
  const path = statePath(key);
  await mkdir(dirname(path), { recursive: true });
  try {
    const release = await lock(path, {
      realpath: false,
      stale: LOCK_STALE_MS,
      update: LOCK_STALE_MS / 4,
      // taken over after this process was held up for long: the ports, which are looked at again, tell who came first
      onCompromised: () => undefined,
    });
    return () => release().catch(() => undefined);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ELOCKED') throw error;
    const forgotten = `One that was killed is forgotten after ${LOCK_STALE_MS / 1000} s.`;
    throw new CommandError(`Another \`ray start\` for the dashboard at port ${key.dashboardPort} is under way. ${forgotten}`);
  }
}

/** Of the state as it is once Ray has ended: whether somebody wanted that. */
export const wasStopped = (state: RayState | null): boolean => state === null || state.isStopping === true;

export const removeState = (key: StateKey): Promise<void> => rm(statePath(key), { force: true });

/** False for our own Ray that has died; of somebody else's the file knows nothing. */
export const mayRun = (state: RayState): boolean => state.own === null || isAlive(state.own.head);

// `ray stop`: ends what `ray start` began, and nothing else.

import { rm } from 'node:fs/promises';
import { CommandError } from '../command-error.ts';
import type { ProgressDisplay } from '../progress.ts';
import { stopHead } from './cluster.ts';
import { ServeApi } from './serve-api.ts';
import { type RayState, readState, removeState, type StateKey, writeState } from './state-file.ts';

export async function stopRay(key: StateKey, progress: ProgressDisplay): Promise<void> {
  const state = await readState(key);
  if (state === null) {
    progress.message(`Nothing to stop: no Ray with its dashboard at port ${key.dashboardPort} was started from here.`);
    return;
  }
  progress.step(state.own === null ? 'Removing the service; streams that are open may go on for a while' : 'Stopping');
  if (state.own !== null) await writeState(key, { ...state, isStopping: true });
  await endState(key, state, { api: new ServeApi(state.dashboardUrl, process.env) });
  progress.message(state.own === null ? 'The service is removed; Ray itself is not ours, and runs on.' : 'Stopped.');
}

export interface EndOptions {
  readonly api: ServeApi;
  /** Leave Ray's folder where it is. @default false */
  readonly keepLogs?: boolean;
}

/** Ends our Ray, or takes our applications from somebody else's; then forgets about it. */
export async function endState(key: StateKey, state: RayState, { api, keepLogs = false }: EndOptions): Promise<void> {
  const { own } = state;
  if (own === null) await removeApplications(state, api);
  else await stopHead(own.head, own.folder);
  if (own !== null && !keepLogs) await rm(own.folder, { recursive: true, force: true });
  await removeState(key);
}

async function removeApplications({ applications, dashboardUrl }: RayState, api: ServeApi): Promise<void> {
  if ((await api.rayVersion()) === null) return;
  const present = Object.keys((await api.details()).applications);
  if (!present.some((name) => applications.includes(name))) return;
  const others = present.filter((name) => !applications.includes(name));
  // Serve's REST interface only knows all applications or none
  if (others.length > 0) {
    throw new CommandError(`Serve at ${dashboardUrl} has other applications, too: ${others.join(', ')}. Nothing was removed.`);
  }
  await api.shutdown();
}

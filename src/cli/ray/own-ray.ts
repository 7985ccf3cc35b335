// A Ray of our own for the service: what it needs on this machine, its head, and the state that lets `ray stop` find it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { locateModel } from '../../model/locate.ts';
import { modelAccess } from '../environment.ts';
import type { ProgressDisplay } from '../progress.ts';
import { ensureVirtualEnvironment } from '../python.ts';
import { type HeadOptions, type RayHead, startHead, stopHead } from './cluster.ts';
import type { Plan } from './plan.ts';
import { checkPorts } from './ports.ts';
import { readPythonRequirements } from './requirements.ts';
import { ServeApi } from './serve-api.ts';
import type { ServeConfig } from './serve-config.ts';
import { type RayState, readState, type StateKey, writeState } from './state-file.ts';
import { endState } from './stop-command.ts';

export interface OwnRayOptions extends StateKey {
  /** Folder of the virtual environment. @default ray-venv in the cache */
  readonly venv?: string;
}

export interface Running {
  readonly state: RayState;
  /** Null where Ray belongs to somebody else. */
  readonly head: RayHead | null;
}

/** HAProxy's socket is at TMPDIR/wray-XXXXXX/haproxy/NODE/admin.sock, 56 characters of it the node's. */
const MAX_TMPDIR_LENGTH = 10;

/** @param state but for its `own` */
export async function startOwn(
  options: OwnRayOptions,
  plan: Plan,
  state: RayState,
  progress: ProgressDisplay,
  signal: AbortSignal,
): Promise<Running> {
  const { cpus, environment, gpus, ports, wantedPorts } = plan;
  const left = await readState(options);
  if (left !== null) await endState(options, left, { api: new ServeApi(left.dashboardUrl, process.env) });
  // what follows may take minutes: better said before, and looked at again after
  await checkPorts(wantedPorts);
  const { minimumVersion, requirements } = await readPythonRequirements();
  const python = await ensureVirtualEnvironment({
    folder: options.venv ?? join(options.cache, 'ray-venv'),
    requirements,
    minimumVersion,
    onProgress: (step) => progress.step(`Python packages for Ray: ${step}`),
    signal,
  });
  await fetchModels(options.cache, plan.config, progress, signal);
  progress.step('Starting Ray');
  await checkPorts(wantedPorts);
  return startRecorded(options, state, { python, environment, ports, cpus, ...(gpus !== undefined && { gpus }) });
}

/** A head that is on record, or none. */
export async function startRecorded(key: StateKey, state: RayState, options: Omit<HeadOptions, 'folder'>): Promise<Running> {
  const folder = await mkdtemp(join(tmpdir().length > MAX_TMPDIR_LENGTH ? '/tmp' : tmpdir(), 'wray-'));
  let head: RayHead | null = null;
  try {
    head = startHead({ ...options, folder });
    const recorded = { ...state, own: { head: head.identity, folder } };
    await writeState(key, recorded);
    return { state: recorded, head };
  } catch (error) {
    if (head !== null) await stopHead(head.identity, folder);
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Ahead of the replicas: here somebody sees how far it is. */
async function fetchModels(cacheDir: string, config: ServeConfig, progress: ProgressDisplay, signal: AbortSignal): Promise<void> {
  const models = new Set(config.applications.map(({ args }) => args?.model).filter((model) => typeof model === 'string'));
  for (const model of models) {
    const { download, message } = progress;
    await locateModel(model, { cacheDir, ...modelAccess(), onProgress: download, onMessage: message, signal });
    signal.throwIfAborted();
  }
}

// `ray start`: a Ray on this machine, or the one that is there, with the service on it; in the foreground until a signal, or detached.

import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { locateModel } from '../../model/locate.ts';
import { CommandError } from '../command-error.ts';
import { modelAccess } from '../environment.ts';
import type { ProgressDisplay } from '../progress.ts';
import { ensureVirtualEnvironment } from '../python.ts';
import { logFolder, type RayHead, startHead, waitForHead } from './cluster.ts';
import { type Plan, type PlanOptions, planRay } from './plan.ts';
import { checkPorts } from './ports.ts';
import { readPythonRequirements } from './requirements.ts';
import { ServeApi, waitUntilRunning } from './serve-api.ts';
import type { ServeConfig } from './serve-config.ts';
import { mayRun, type RayState, readState, type StateKey, wasStopped, writeState } from './state-file.ts';
import { endState } from './stop-command.ts';

export interface StartOptions extends PlanOptions {
  /** Folder of the virtual environment. @default ray-venv in the cache */
  readonly venv?: string;
  /** Return when it is ready. */
  readonly detach: boolean;
}

const HAPROXY_TIMEOUT_MS = 60_000;
const POLL_MS = 500;
/** HAProxy's socket is at TMPDIR/wray-XXXXXX/haproxy/NODE/admin.sock, 56 characters of it the node's. */
const MAX_TMPDIR_LENGTH = 10;

export async function startRay(options: StartOptions, progress: ProgressDisplay, signal: AbortSignal): Promise<void> {
  await refuseSecond(options);
  const plan = await planRay(options, process.env);
  const api = new ServeApi(plan.dashboardUrl, process.env);
  const version = await api.rayVersion(signal);
  const running =
    version === null ? await startOwn(options, plan, progress, signal) : await joinOther(options, plan, api, version, progress);
  let stays = false;
  try {
    if (running.head !== null) await waitForHead(running.head, api, signal);
    await deploy(running.head === null ? plan.config : plan.fittedConfig, plan, api, progress, signal);
    progress.message(describe(plan, running.state));
    stays = options.detach;
    if (options.detach) return;
    const log = await Promise.race([aborted(signal), running.head?.ended ?? forever()]);
    if (log === undefined) return;
    if (!wasStopped(await readState(options))) throw new CommandError(`Ray ended:\n${log}`);
    progress.message('Stopped by `ray stop`.');
  } catch (error) {
    const { own } = running.state;
    if (!signal.aborted && own !== null) progress.message(`Logs are kept in ${logFolder(own.folder)}`);
    throw error;
  } finally {
    if (!stays) {
      progress.step('Stopping');
      await endState(options, running.state, { api, keepLogs: !signal.aborted });
    }
  }
}

interface Running {
  readonly state: RayState;
  /** Null where Ray belongs to somebody else. */
  readonly head: RayHead | null;
}

async function refuseSecond(key: StateKey): Promise<void> {
  const state = await readState(key);
  if (state === null || !mayRun(state)) return;
  if (state.own === null && !(await hasOurs(state))) return;
  throw new CommandError(`It is there already: ${state.serviceUrl}, dashboard ${state.dashboardUrl}. \`ray stop\` ends it.`);
}

/** Whether somebody else's Ray still has our applications; one that cannot be asked has not. */
async function hasOurs({ applications, dashboardUrl }: RayState): Promise<boolean> {
  const details = await new ServeApi(dashboardUrl, process.env).details().catch(() => null);
  return details !== null && applications.some((name) => name in details.applications);
}

async function startOwn(options: StartOptions, plan: Plan, progress: ProgressDisplay, signal: AbortSignal): Promise<Running> {
  const { cpus, environment, gpus, ports, wantedPorts } = plan;
  const left = await readState(options);
  if (left !== null) await endState(options, left, { api: new ServeApi(left.dashboardUrl, process.env) });
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
  const folder = await mkdtemp(join(tmpdir().length > MAX_TMPDIR_LENGTH ? '/tmp' : tmpdir(), 'wray-'));
  const head = startHead({ python, environment, folder, ports, cpus, ...(gpus !== undefined && { gpus }) });
  const state: RayState = { ...stateOf(plan), own: { head: head.identity, folder } };
  await writeState(options, state);
  return { state, head };
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

/** Takes a Ray that somebody else runs, unless Serve there is in use: a configuration replaces every other. */
async function joinOther(options: StartOptions, plan: Plan, api: ServeApi, version: string, progress: ProgressDisplay): Promise<Running> {
  const { rayVersion } = await readPythonRequirements();
  const others = Object.keys((await api.details()).applications);
  if (others.length > 0) {
    const advice = 'Remove them (serve shutdown), or choose other ports for a Ray of your own.';
    throw new CommandError(`Serve at ${plan.dashboardUrl} has applications already: ${others.join(', ')}. ${advice}`);
  }
  progress.message(`Ray ${version} runs at ${plan.dashboardUrl}: the service goes there. Its ports and CPUs are as they are.`);
  if (version !== rayVersion) progress.message(`This was made for Ray ${rayVersion}.`);
  const state = stateOf(plan);
  await writeState(options, state);
  return { state, head: null };
}

const stateOf = ({ applications, dashboardUrl, metricsUrl, serviceUrl }: Plan): RayState => {
  return { own: null, dashboardUrl, serviceUrl, metricsUrl, applications };
};

async function deploy(config: ServeConfig, plan: Plan, api: ServeApi, progress: ProgressDisplay, signal: AbortSignal): Promise<void> {
  progress.step('Deploying');
  await api.deploy(config, signal);
  await waitUntilRunning(api, plan.applications, progress.step, signal);
  progress.step(`Waiting for HAProxy on ${plan.serviceUrl}`);
  const deadline = performance.now() + HAPROXY_TIMEOUT_MS;
  const isOpen = async (): Promise<boolean> => (await fetch(`${plan.serviceUrl}/-/healthz`, { signal }).catch(() => null))?.ok ?? false;
  while (!(await isOpen())) {
    if (performance.now() > deadline)
      throw new CommandError(`The applications run, but ${plan.serviceUrl} does not answer. HAProxy's log may say why.`);
    await delay(POLL_MS, undefined, { signal });
  }
}

const describe = ({ dashboardUrl, metricsUrl, serviceUrl, applications }: Plan, { own }: RayState): string =>
  [
    `Ready: ${applications.join(', ')} on Ray`,
    `  page        ${serviceUrl}/`,
    `  streams     ${serviceUrl.replace('http', 'ws')}/stream`,
    `  dashboard   ${dashboardUrl}/#/serve`,
    `  metrics     ${metricsUrl}`,
    ...(own === null ? [] : [`  logs        ${logFolder(own.folder)}`, `  process     ${own.head.pid}`]),
  ].join('\n');

/** A promise alone does not keep a process from ending. */
function forever(): Promise<never> {
  return new Promise(() => setInterval(() => undefined, 60_000));
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

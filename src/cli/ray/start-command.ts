// `ray start`: a Ray on this machine, or the one that is there, with the service on it; in the foreground until a signal, or detached.

import { setTimeout as delay } from 'node:timers/promises';
import { CommandError } from '../command-error.ts';
import type { ProgressDisplay } from '../progress.ts';
import { logFolder, waitForHead } from './cluster.ts';
import { type OwnRayOptions, type Running, startOwn } from './own-ray.ts';
import { type Plan, type PlanOptions, planRay } from './plan.ts';
import { readPythonRequirements } from './requirements.ts';
import { ServeApi, waitUntilRunning } from './serve-api.ts';
import type { ServeConfig } from './serve-config.ts';
import { lockState, mayRun, type RayState, readState, type StateKey, wasStopped, writeState } from './state-file.ts';
import { endState } from './stop-command.ts';

export interface StartOptions extends PlanOptions, OwnRayOptions {
  /** Return when it is ready. */
  readonly detach: boolean;
}

const HAPROXY_TIMEOUT_MS = 60_000;
const POLL_MS = 500;

export async function startRay(options: StartOptions, progress: ProgressDisplay, signal: AbortSignal): Promise<void> {
  const unlock = await lockState(options);
  try {
    await startLocked(options, progress, signal, unlock);
  } finally {
    await unlock();
  }
}

/** @param onReady for when all is ready */
async function startLocked(
  options: StartOptions,
  progress: ProgressDisplay,
  signal: AbortSignal,
  onReady: () => Promise<void>,
): Promise<void> {
  await refuseSecond(options);
  const plan = await planRay(options, process.env);
  const api = new ServeApi(plan.dashboardUrl, process.env);
  const version = await api.rayVersion(signal);
  const running =
    version === null
      ? await startOwn(options, plan, stateOf(plan), progress, signal)
      : await joinOther(options, plan, api, version, progress);
  let stays = false;
  try {
    if (running.head !== null) await waitForHead(running.head, api, signal);
    await deploy(running.head === null ? plan.config : plan.fittedConfig, plan, api, progress, signal);
    progress.message(describe(plan, running.state));
    await onReady();
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

/** Takes a Ray that somebody else runs, unless Serve there is in use: a configuration replaces every other. */
async function joinOther(options: StartOptions, plan: Plan, api: ServeApi, version: string, progress: ProgressDisplay): Promise<Running> {
  refuseKeys(plan);
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

/** Variables reach somebody else's Ray with the configuration only, and that its dashboard shows to everybody. */
function refuseKeys({ dashboardUrl }: Plan): void {
  if (!process.env.WHISPER_API_KEYS) return;
  throw new CommandError(
    [
      `Ray runs already at ${dashboardUrl}, and WHISPER_API_KEYS is set: its dashboard would show the keys, and without them the service would be open.`,
      'Where that Ray has WHISPER_API_KEYS in its own environment, on every node, unset it here. Otherwise choose other ports for a Ray of your own.',
    ].join('\n'),
  );
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

// A Ray of our own on this machine: one head node in a session of its own, started and ended as a whole.
//
// Never `ray stop`: it looks for processes by name and would end every Ray on the machine.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CommandError } from '../command-error.ts';
import { identify, isAlive, type ProcessIdentity, sessionProcesses, worksIn } from './process-identity.ts';
import type { ServeApi } from './serve-api.ts';

export interface HeadOptions {
  /** Python of an environment that has Ray. */
  readonly python: string;
  /** As of `rayEnvironment`. */
  readonly environment: Readonly<Record<string, string>>;
  /** For sockets and logs, private: an absolute and short path, for those of sockets below it may have 107 bytes (HAProxy: 97). */
  readonly folder: string;
  readonly ports: HeadPorts;
  /** Logical CPUs. */
  readonly cpus: number;
  /** Logical GPUs. @default those that Ray finds */
  readonly gpus?: number;
}

export interface HeadPorts {
  /** Of the node itself (GCS). */
  readonly ray: number;
  readonly dashboard: number;
  readonly metrics: number;
}

export interface RayHead {
  readonly identity: ProcessIdentity;
  /** Resolves when it has ended, for whatever reason, with the last of what it wrote. */
  readonly ended: Promise<string>;
}

/** Ray opens its folder to everybody: it has to lie in one that is not. */
const TEMP_DIR = 'ray';
const LOG_FILE = 'ray-start.log';
const SHOWN_LOG_LINES = 20;
const POLL_MS = 250;
const READY_TIMEOUT_MS = 180_000;
/** Measured: 2.4 s with two replicas. */
const STOP_TIMEOUT_MS = 20_000;
const LEFTOVER_TIMEOUT_MS = 5_000;

/** Starts `ray start --head --block`. It outlives this process; `stopHead` ends it. */
export function startHead(options: HeadOptions): RayHead {
  const { cpus, environment, folder, gpus, ports, python } = options;
  const log = openSync(join(folder, LOG_FILE), 'w');
  const child = spawn(
    python,
    [
      ...['-m', 'ray.scripts.scripts', 'start', '--head', '--block', '--disable-usage-stats', `--temp-dir=${join(folder, TEMP_DIR)}`],
      ...[`--port=${ports.ray}`, '--dashboard-host=127.0.0.1', `--dashboard-port=${ports.dashboard}`],
      ...[`--metrics-export-port=${ports.metrics}`, `--num-cpus=${cpus}`, ...(gpus === undefined ? [] : [`--num-gpus=${gpus}`])],
    ],
    // a session of its own: a terminal's Ctrl-C is for this process, which ends Ray in order
    { env: { ...environment, ...localEnvironment(folder) }, stdio: ['ignore', log, log], detached: true, cwd: folder },
  );
  closeSync(log);
  // said below: without a listener it would end this process
  child.on('error', () => undefined);
  const identity = child.pid === undefined ? null : identify(child.pid);
  if (identity === null) throw new CommandError(`${python} could not be started.`);
  return { identity, ended: logAtEnd(child, folder) };
}

/** What holds for a Ray of one node only, and for this one. */
function localEnvironment(folder: string): Record<string, string> {
  const haproxy = (name: string): string => join(folder, 'haproxy', name);
  return {
    // the replicas' sockets, too, and whatever a killed process leaves behind
    TMPDIR: folder,
    // a node that goes down waits for its replicas to move elsewhere, 30 s by default; there is no elsewhere
    RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S: '0',
    // by default in a folder that every Ray of the machine shares: whoever reaches that socket commands HAProxy
    RAY_SERVE_HAPROXY_CONFIG_FILE_LOC: haproxy('haproxy.cfg'),
    RAY_SERVE_HAPROXY_SOCKET_PATH: haproxy('admin.sock'),
    RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH: haproxy('metrics.sock'),
    RAY_SERVE_HAPROXY_SERVER_STATE_BASE: join(folder, 'haproxy'),
    RAY_SERVE_HAPROXY_SERVER_STATE_FILE: haproxy('server-state'),
  };
}

/** Where a Ray that was started with this folder has its logs. */
export const logFolder = (folder: string): string => join(folder, TEMP_DIR, 'session_latest', 'logs');

/** Resolves when the dashboard answers. */
export async function waitForHead(head: RayHead, api: ServeApi, signal: AbortSignal): Promise<void> {
  let log: string | undefined;
  void head.ended.then((text) => {
    log = text;
  });
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while ((await api.rayVersion(signal)) === null) {
    if (log !== undefined) throw new CommandError(`Ray ended while it started:\n${log}`);
    if (performance.now() > deadline) throw new CommandError(`Ray's dashboard did not answer within ${READY_TIMEOUT_MS / 1000} s.`);
    await delay(POLL_MS, undefined, { signal });
  }
}

/** Ends a Ray that `startHead` began in this folder, and whatever may be left of it. Whoever has its number by now is left alone. */
export async function stopHead(identity: ProcessIdentity, folder: string): Promise<void> {
  // the session's number may be another's by now if the head has died; the folder's name is not
  const ours = (): ProcessIdentity[] => sessionProcesses(identity.pid).filter((member) => worksIn(folder, member));
  const members = ours();
  const remaining = (): ProcessIdentity[] => members.filter(isAlive);
  if (isAlive(identity)) process.kill(identity.pid, 'SIGTERM');
  await until(() => !isAlive(identity), STOP_TIMEOUT_MS);
  if (await until(() => remaining().length === 0, LEFTOVER_TIMEOUT_MS)) return;
  for (const { pid } of [...remaining(), ...ours()]) kill(pid);
  await until(() => remaining().length === 0, LEFTOVER_TIMEOUT_MS);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended meanwhile
  }
}

async function until(isDone: () => boolean, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!isDone()) {
    if (performance.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

function logAtEnd(child: ChildProcess, folder: string): Promise<string> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve(lastLines(join(folder, LOG_FILE))));
  });
}

function lastLines(path: string): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-SHOWN_LOG_LINES).join('\n');
  } catch {
    // an orderly stop may have removed the folder by now
    return '';
  }
}

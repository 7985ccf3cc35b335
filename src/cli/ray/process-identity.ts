// Which process a number meant: numbers are used again, a number with its start is not. And who else lives in its session.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in words that only compare. */
  readonly started: string;
}

/** Null where there is no such process, or only its remains. */
export function identify(pid: number): ProcessIdentity | null {
  if (process.platform !== 'linux') return identifyByPs(pid);
  const fields = statFields(pid);
  if (fields === null || fields[0] === 'Z') return null;
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return { pid, started: `${boot} ${fields[19]}` };
}

export const isAlive = (identity: ProcessIdentity): boolean => identify(identity.pid)?.started === identity.started;

/**
 * Processes of the session that `leader` began, whether or not it still runs, and all that descends from them, for some begin
 * sessions of their own. Linux only, empty elsewhere.
 */
export function sessionProcesses(leader: number): ProcessIdentity[] {
  if (process.platform !== 'linux') return [];
  const fields = new Map<number, readonly string[]>();
  for (const entry of readdirSync('/proc')) {
    const found = /^\d+$/.test(entry) ? statFields(Number(entry)) : null;
    if (found !== null && found[0] !== 'Z') fields.set(Number(entry), found);
  }
  const belongs = (pid: number): boolean => {
    const [, parent, , session] = fields.get(pid) ?? [];
    return parent !== undefined && (Number(session) === leader || belongs(Number(parent)));
  };
  return [...fields.keys()].filter(belongs).flatMap((pid) => identify(pid) ?? []);
}

/** Whether the process works in the folder or below it; false where nobody can say. */
export function worksIn(folder: string, { pid }: ProcessIdentity): boolean {
  try {
    return `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${folder}/`);
  } catch {
    return false;
  }
}

/** Fields of /proc/PID/stat after the command, which may hold spaces: state, parent, group, session; the start is the twentieth. */
function statFields(pid: number): readonly string[] | null {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return line.slice(line.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

function identifyByPs(pid: number): ProcessIdentity | null {
  try {
    const started = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    return started === '' ? null : { pid, started };
  } catch {
    return null;
  }
}

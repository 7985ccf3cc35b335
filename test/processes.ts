// Processes of this machine by their parents (Linux): who descends from whom, what they were started as, whether they are there.

import { readdirSync, readFileSync } from 'node:fs';

/** All descendants of a process, children before grandchildren. */
export function descendants(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const pid of pids()) {
    const parent = parentOf(pid);
    if (parent !== null) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const found: number[] = [];
  for (let next = children.get(root) ?? []; next.length > 0; next = next.flatMap((pid) => children.get(pid) ?? [])) found.push(...next);
  return found;
}

/** The command line, with spaces between its arguments; empty where the process is gone. */
export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}

/** Gone, or ended and only remembered for its parent. */
export function hasEnded(pid: number): boolean {
  const fields = statFields(pid);
  return fields === null || fields[0] === 'Z';
}

export function pids(): number[] {
  return readdirSync('/proc').flatMap((entry) => (/^\d+$/.test(entry) ? [Number(entry)] : []));
}

function parentOf(pid: number): number | null {
  const fields = statFields(pid);
  return fields === null ? null : Number(fields[1]);
}

/**
 * Fields of /proc/PID/stat from the state on; the command before them may hold spaces. Null where it is gone.
 * @param thread of the process; without one, all of them together
 */
export function statFields(pid: number, thread?: string): readonly string[] | null {
  try {
    const line = readFileSync(`/proc/${pid}${thread === undefined ? '' : `/task/${thread}`}/stat`, 'utf8');
    return line.slice(line.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

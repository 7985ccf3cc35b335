// Python where TypeScript needs it: finds an interpreter, makes virtual environments from pinned requirements, and shows how far they are.

import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { lock } from 'proper-lockfile';
import { CommandError } from './command-error.ts';

export interface VirtualEnvironmentOptions {
  /** Where it is, or is made. One that lacks a requirement is made anew, so nothing else belongs in there. */
  readonly folder: string;
  /** What has to be in it, as pip takes it, each version pinned: the environment counts as up to date while these are the same. */
  readonly requirements: readonly string[];
  /** Least version of Python, for instance [3, 10]. @default none */
  readonly minimumVersion?: readonly [number, number];
  /** Told what is being done, in few words, several times a second at most. */
  readonly onProgress?: (step: string) => void;
  readonly signal?: AbortSignal;
}

/** On Debian the newest Python may lack what a virtual environment needs while an older one has it. */
const INTERPRETERS = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python3.10'];
const PIP_ARGUMENTS = ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--progress-bar=off'];
/** Its presence says that everything is in place; its lines are the requirements. */
const STAMP = 'requirements.txt';
const SHOWN_ERROR_LINES = 12;
const LOCK_STALE_MS = 10_000;
const LOCK_POLL_MS = 500;

const execute = promisify(execFile);

/** The Python of an environment that has the requirements, made first if need be. One process makes it, others wait. */
export async function ensureVirtualEnvironment(options: VirtualEnvironmentOptions): Promise<string> {
  const { folder, signal } = options;
  const python = join(folder, 'bin', 'python');
  if (await isUpToDate(options, python)) return python;
  const release = await acquireLock(options);
  try {
    if (await isUpToDate(options, python)) return python;
    options.onProgress?.('making a virtual environment');
    const interpreter = await findInterpreter(options.minimumVersion, signal);
    await rm(join(folder, STAMP), { force: true });
    await execute(interpreter, ['-m', 'venv', '--clear', folder], signalOption(signal));
    await installRequirements(python, options);
    await writeFile(join(folder, STAMP), stampOf(options.requirements));
    return python;
  } finally {
    await release().catch(() => undefined);
  }
}

const stampOf = (requirements: readonly string[]): string => `${requirements.join('\n')}\n`;

/** An environment that holds more than is asked for will do, too. */
async function isUpToDate({ folder, requirements }: VirtualEnvironmentOptions, python: string): Promise<boolean> {
  // a link to a Python that an upgrade of the system took away does not exist
  if (!existsSync(python)) return false;
  const stamp = await readFile(join(folder, STAMP), 'utf8').catch(() => undefined);
  if (stamp === undefined) return false;
  const installed = new Set(stamp.split('\n'));
  return requirements.every((requirement) => installed.has(requirement));
}

async function acquireLock({ folder, onProgress, signal }: VirtualEnvironmentOptions): Promise<() => Promise<void>> {
  await mkdir(folder, { recursive: true });
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await lock(folder, { realpath: false, stale: LOCK_STALE_MS, update: LOCK_STALE_MS / 4 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ELOCKED') throw error;
    }
    onProgress?.('another process makes it');
    await delay(LOCK_POLL_MS, undefined, signalOption(signal));
  }
}

/** A Python that is new enough and can make virtual environments. */
async function findInterpreter(minimum: readonly [number, number] = [3, 0], signal?: AbortSignal): Promise<string> {
  const wanted = `Python ${minimum.join('.')} or newer`;
  const refused: string[] = [];
  for (const command of INTERPRETERS) {
    const script = 'import sys; print(*sys.version_info[:2]); import venv, ensurepip';
    const result = await execute(command, ['-c', script], signalOption(signal)).catch((error) => error as Failure);
    signal?.throwIfAborted();
    if ('code' in result && result.code === 'ENOENT') continue;
    const [major = 0, minor = 0] = result.stdout.trim().split(' ').map(Number);
    if (major < minimum[0] || (major === minimum[0] && minor < minimum[1])) refused.push(`${command} is ${major}.${minor}`);
    else if ('code' in result) refused.push(`${command} lacks the modules venv and ensurepip (on Debian: apt install ${command}-venv)`);
    else return command;
  }
  throw new CommandError(`${wanted} is needed: ${refused.length === 0 ? 'there is no python3 on the PATH' : refused.join('; ')}.`);
}

interface Failure extends Error {
  readonly code: number | string;
  readonly stdout: string;
}

async function installRequirements(python: string, { onProgress, requirements, signal }: VirtualEnvironmentOptions): Promise<void> {
  const pip = spawn(python, [...PIP_ARGUMENTS, ...requirements], { stdio: ['ignore', 'pipe', 'pipe'], ...signalOption(signal) });
  const errors: string[] = [];
  const describe = createPipProgress();
  createInterface({ input: pip.stdout }).on('line', (line) => {
    const step = describe(line);
    if (step !== null) onProgress?.(step);
  });
  createInterface({ input: pip.stderr }).on('line', (line) => {
    if (errors.push(line) > SHOWN_ERROR_LINES) errors.shift();
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    pip.on('close', resolve);
    pip.on('error', reject);
  });
  signal?.throwIfAborted();
  if (code !== 0) throw new CommandError([`pip could not install ${requirements.join(', ')}:`, ...errors].join('\n'));
}

/** What a line of pip's means to somebody who waits; null for one that means nothing. */
export function createPipProgress(): (line: string) => string | null {
  let packages = 0;
  return (line) => {
    const [, verb = '', what = ''] = /^\s*(Collecting|Downloading|Using cached|Building|Installing collected) (.*)$/.exec(line) ?? [];
    if (verb === 'Collecting') return `${++packages} packages, ${what.split(/[<>=!~;([ ]/)[0]}`;
    // ray-2.60.0-cp311-cp311-manylinux2014_x86_64.whl (72.1 MB)
    const [, file = '', size = ''] = /^([^\s-]+-[^\s-]+)\S*(?: (\(.*\)))?/.exec(what) ?? [];
    if (verb === 'Downloading') return /\.metadata/.test(what) ? null : `downloading ${`${file} ${size}`.trim()}`;
    if (verb === 'Building') return `building ${what}`;
    return verb.startsWith('Installing') ? `installing ${what.split(',').length} packages` : null;
  };
}

const signalOption = (signal: AbortSignal | undefined): { signal?: AbortSignal } => (signal === undefined ? {} : { signal });

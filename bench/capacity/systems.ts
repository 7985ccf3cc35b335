// The systems under load, each started alone in processes of its own: the service from dist/, the naive recipe, WhisperLive.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ON_RAY, type ProcessUsage, processUsage, ServerProcess } from '../../test/server-process.ts';
import type { CapacityOptions, SystemName } from './options.ts';

const execute = promisify(execFile);
const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const INSTALL_TIMEOUT_MS = 600_000;
const READY_TIMEOUT_MS = 120_000;
const WHISPERLIVE = 'whisper-live==0.10.0';

export interface RunningSystem {
  readonly name: SystemName;
  /** ws://host:port */
  readonly url: string;
  usage(): ProcessUsage;
  stop(): Promise<void>;
}

/** What is needed to start any of them. */
export interface SystemParts {
  readonly options: CapacityOptions;
  /** With faster-whisper, for the naive recipe. */
  readonly python: string;
  /** With WhisperLive; null where it could not be installed. */
  readonly whisperLivePython: string | null;
  /** CTranslate2 weights. */
  readonly modelFolder: string;
}

/** The folder that the service loads its weights from, so that all systems run the same numbers. */
export async function referenceModelFolder({ referenceModel, model }: CapacityOptions): Promise<string> {
  if (referenceModel !== null) return referenceModel;
  const { stdout } = await execute(process.execPath, ['dist/cli/launch.cjs', 'models', 'path', model], { cwd: at('../..') });
  const folder = stdout.trim().split('\n').at(-1) ?? '';
  if (!existsSync(`${folder}/model.bin`))
    throw new Error(`no model.bin in ${folder}: give --reference-model a folder with CTranslate2 weights`);
  return folder;
}

/** Installs WhisperLive into .cache unless it is there. Returns its Python; rejects with pip's own words. */
export async function whisperLivePython(): Promise<string> {
  const folder = at('../../.cache/bench-whisperlive-venv');
  const python = `${folder}/bin/python`;
  const requirements = at('requirements-whisperlive.txt');
  const wanted = `${WHISPERLIVE}\n${await readFile(requirements, 'utf8')}`;
  const stamp = `${folder}/installed.txt`;
  if (existsSync(stamp) && (await readFile(stamp, 'utf8')) === wanted) return python;
  const run = (program: string, args: readonly string[]) => execute(program, [...args], { timeout: INSTALL_TIMEOUT_MS });
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
  await run('python3', ['-m', 'venv', '--clear', folder]);
  await run(python, [...pip, '-r', requirements]);
  await run(python, [...pip, '--no-deps', WHISPERLIVE]);
  await writeFile(stamp, wanted);
  return python;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  }).finally(() => socket.destroy()) as Promise<boolean>;
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  // Their threads may be in the middle of a decode; nothing of theirs needs saving
  child.kill('SIGKILL');
  await ended;
}

/** @param args script and arguments, with PORT where the port goes */
async function startPython(name: SystemName, python: string, args: readonly string[], threads: number): Promise<RunningSystem> {
  const port = await freePort();
  const child = spawn(python, [at(args[0]!), ...args.slice(1).map((arg) => (arg === 'PORT' ? String(port) : arg))], {
    env: { ...process.env, OMP_NUM_THREADS: String(threads), HF_HUB_OFFLINE: '1' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-4000);
  });
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`${name} ended before it listened:\n${output}`);
    if (Date.now() > deadline) {
      await stopProcess(child);
      throw new Error(`${name} did not listen in time:\n${output}`);
    }
    await delay(100);
  }
  return { name, url: `ws://127.0.0.1:${port}`, usage: () => processUsage(child.pid ?? 0), stop: () => stopProcess(child) };
}

export async function startSystem(name: SystemName, parts: SystemParts): Promise<RunningSystem> {
  const { options, modelFolder } = parts;
  const { threads, chunkSeconds, overlapSeconds } = options;
  if (name === 'ours' || name === 'ray') {
    const args = ['--engines', String(threads), '--model', options.model, ...options.serverArgs];
    const server = await ServerProcess.start({ entry: 'compiled', args, ...(name === 'ray' && ON_RAY) });
    return {
      name,
      url: server.url.replace('http', 'ws'),
      usage: () => server.usage(),
      stop: async () => void (await server.stop()),
    };
  }
  if (name === 'naive') {
    const settings = [threads, options.naiveBeam, chunkSeconds, overlapSeconds].map(String);
    return startPython(name, parts.python, ['naive_server.py', modelFolder, 'PORT', ...settings], threads);
  }
  if (parts.whisperLivePython === null) throw new Error('WhisperLive is not installed');
  const mode = options.whisperLiveBatch ? 'batch' : 'single';
  return startPython(name, parts.whisperLivePython, ['whisperlive_server.py', modelFolder, 'PORT', mode], threads);
}

// Starts the service as a user does, in a process of its own, and watches it: address, memory, processor time, end.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { descendants, statFields } from './processes.ts';

const projectRoot = fileURLToPath(new URL('..', import.meta.url));
export const CLOCK_TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;
const POLL_MS = 25;

const SERVE = ['serve', '--host', '127.0.0.1', '--port', '0'];
/** The service on a Ray of its own. Of such there can be one on a machine: its ports are fixed. */
export const ON_RAY = { command: ['ray', 'start'], address: /page +(http:\/\/[^\s/]+)/ } as const;

const ENTRIES = {
  compiled: ['dist/cli/launch.cjs'],
  sources: ['--import', 'tsx', 'src/cli/main.ts'],
  start: ['scripts/start.cjs'],
} as const;

export interface ServerProcessOptions {
  /** `compiled` runs dist/, `sources` runs src/ through tsx, `start` builds and runs dist/ as `npm start` does. @default 'sources' */
  readonly entry?: keyof typeof ENTRIES;
  /** @default serve on a free port of this machine */
  readonly command?: readonly string[];
  /** Arguments after the command. @default [] */
  readonly args?: readonly string[];
  /** Finds the address in what the command writes. @default the first URL */
  readonly address?: RegExp;
  /** Added to this process's environment. @default {} */
  readonly environment?: Readonly<Record<string, string>>;
  /** A first start may download and build a model. @default 600000 */
  readonly readyTimeoutMs?: number;
}

/** Seconds of processor time and resident bytes of a process and its descendants (Linux). */
export interface ProcessUsage {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

export function processUsage(root: number): ProcessUsage {
  let ticks = 0;
  let pages = 0;
  for (const pid of [root, ...descendants(root)]) {
    const fields = statFields(pid);
    // It ended while the others were read.
    if (fields === null) continue;
    // utime, stime, and those of children that ended; then the resident set
    ticks += Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14]);
    pages += Number(fields[21]);
  }
  return { cpuSeconds: ticks / CLOCK_TICKS_PER_SECOND, residentBytes: pages * PAGE_BYTES };
}

export class ServerProcess {
  readonly #child: ChildProcess;
  #output = '';
  #url: string | null = null;

  private constructor(child: ChildProcess, address: RegExp) {
    this.#child = child;
    const read = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-20_000);
      this.#url ??= address.exec(this.#output)?.[1] ?? null;
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
  }

  /** Resolves when GET /ready answers 200; rejects with the output's end when the process dies or takes too long. */
  static async start(options: ServerProcessOptions = {}): Promise<ServerProcess> {
    const entry = options.entry ?? 'sources';
    const child = spawn(process.execPath, [...ENTRIES[entry], ...(options.command ?? SERVE), ...(options.args ?? [])], {
      cwd: projectRoot,
      // tsx loads ES modules before anything of the project runs: the launcher would come too late.
      env: { ...process.env, ...(entry === 'sources' && { UV_THREADPOOL_SIZE: '64' }), ...options.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const server = new ServerProcess(child, options.address ?? /(https?:\/\/[^\s"'/]+:\d+)/);
    const deadline = Date.now() + (options.readyTimeoutMs ?? 600_000);
    while (Date.now() < deadline) {
      if (!server.alive) throw new Error(`the server ended before it was ready:\n${server.output}`);
      if (server.#url !== null && (await fetch(`${server.#url}/ready`).catch(() => null))?.status === 200) return server;
      await delay(POLL_MS);
    }
    await server.stop('SIGKILL');
    throw new Error(`the server was not ready in time:\n${server.output}`);
  }

  /** For instance http://127.0.0.1:40123 */
  get url(): string {
    return this.#url ?? '';
  }

  get streamUrl(): string {
    return `${this.url.replace('http', 'ws')}/stream`;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid !== undefined;
  }

  /** The end of what it wrote to stdout and stderr. */
  get output(): string {
    return this.#output;
  }

  usage(): ProcessUsage {
    return processUsage(this.pid);
  }

  /** Sends the signal and waits for the end; returns the exit code, null after a signal. Idempotent. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.alive) {
      const ended = once(this.#child, 'exit');
      this.#child.kill(signal);
      await ended;
    }
    return this.#child.exitCode;
  }
}

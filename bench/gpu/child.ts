// Runs a process that reports in JSON lines, for so long and no longer. What it said until then counts.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly timeoutSeconds: number;
  readonly signal: AbortSignal;
}

export interface ChildEnd {
  /** Null: it said `done` itself. */
  readonly problem: string | null;
}

const ERROR_CHARACTERS = 600;
const KEPT_CHARACTERS = 4000;

export async function runChild<Line extends { readonly kind: string }>(
  { args, command, signal, timeoutSeconds }: ChildOptions,
  onLine: (line: Line) => void,
): Promise<ChildEnd> {
  const child = spawn(command, [...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', kill, { once: true });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    kill();
  }, timeoutSeconds * 1000);
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-KEPT_CHARACTERS);
  });
  let isDone = false;
  let failure: string | null = null;
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (text) => {
    // Libraries write to standard output, too.
    if (!text.startsWith('{"kind":') && !text.startsWith('{"kind": ')) return;
    const line = JSON.parse(text) as Line;
    if (line.kind === 'done') isDone = true;
    else if (line.kind === 'failed') failure = (line as { reason?: string }).reason ?? 'failed';
    else onLine(line);
  });
  const read = once(lines, 'close');
  try {
    const [code, killedBy] = (await once(child, 'exit')) as [number | null, string | null];
    await read;
    if (isDone || failure !== null) return { problem: failure };
    if (isLate) return { problem: `stopped after ${timeoutSeconds.toFixed(0)} s` };
    if (signal.aborted) return { problem: 'stopped' };
    return { problem: `ended with ${code ?? killedBy}: ${lastLines(errors)}` };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', kill);
  }
}

const lastLines = (text: string): string => text.trim().slice(-ERROR_CHARACTERS);

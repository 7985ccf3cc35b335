// What NVIDIA's driver says of its GPU's memory. Others tell nobody.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Of what is free, and of a process's own share: the rest is for what allocators and CUDA itself take. */
const USABLE = 0.8;
const TIMEOUT_MS = 10_000;

/**
 * CSV of what `nvidia-smi --help-query-gpu` calls so, of the first GPU that a process may see; null where there is none, or nobody to ask.
 * @param visible CUDA_VISIBLE_DEVICES: numbers or names, of which the first is the process's own first
 */
export async function queryGpu(fields: readonly string[], visible: string | undefined, command = 'nvidia-smi'): Promise<string | null> {
  const first = visible?.split(',')[0]?.trim() ?? '';
  const args = [...(first === '' ? [] : ['-i', first]), `--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits'];
  try {
    return (await promisify(execFile)(command, args, { timeout: TIMEOUT_MS })).stdout;
  } catch {
    return null;
  }
}

export const firstRow = (csv: string): string[] => (csv.trim().split('\n')[0] as string).split(',').map((cell) => cell.trim());

/**
 * MiB to use of that GPU; undefined where nothing is known.
 * @param share part of the GPU that is for this process; what is free is no measure where the others have not loaded their models yet
 */
export async function usableGpuMemory(visible: string | undefined, share = 1, command?: string): Promise<number | undefined> {
  const answer = await queryGpu(['memory.free', 'memory.total'], visible, command);
  if (answer === null) return undefined;
  const [free = Number.NaN, whole = Number.NaN] = firstRow(answer).map(Number);
  const usable = Math.floor(USABLE * Math.min(free, share * whole));
  return usable > 0 ? usable : undefined;
}

// What NVIDIA's driver says of its GPU's memory. Others tell nobody.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const QUERY = ['--query-gpu=memory.free,memory.total', '--format=csv,noheader,nounits'];
/** Of what is free, and of a process's own share: the rest is for what allocators and CUDA itself take. */
const USABLE = 0.8;
const TIMEOUT_MS = 10_000;

/**
 * MiB to use of the first GPU that this process may see; undefined where nothing is known.
 * @param visible CUDA_VISIBLE_DEVICES: numbers or names, of which the first is the process's own first
 * @param share part of the GPU that is for this process; what is free is no measure where the others have not loaded their models yet
 */
export async function usableGpuMemory(visible: string | undefined, share = 1, command = 'nvidia-smi'): Promise<number | undefined> {
  const [first] = visible?.split(',') ?? [];
  const gpu = first === undefined || first.trim() === '' ? [] : ['-i', first.trim()];
  try {
    const { stdout } = await promisify(execFile)(command, [...gpu, ...QUERY], { timeout: TIMEOUT_MS });
    const [free = Number.NaN, whole = Number.NaN] = (stdout.trim().split('\n')[0] ?? '').split(',').map(Number);
    const usable = Math.floor(USABLE * Math.min(free, share * whole));
    return usable > 0 ? usable : undefined;
  } catch {
    return undefined;
  }
}

// What NVIDIA's driver says of its GPU's memory. Others tell nobody.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const QUERY = ['--query-gpu=memory.free', '--format=csv,noheader,nounits'];
/** Of what is free: the rest is for what allocators and CUDA itself take. */
const SHARE = 0.8;
const TIMEOUT_MS = 10_000;

/**
 * MiB to use of the first GPU that this process may see; undefined where nothing is known.
 * @param visible CUDA_VISIBLE_DEVICES: numbers or names, of which the first is the process's own first
 */
export async function usableGpuMemory(visible: string | undefined, command = 'nvidia-smi'): Promise<number | undefined> {
  const [first] = visible?.split(',') ?? [];
  const gpu = first === undefined || first.trim() === '' ? [] : ['-i', first.trim()];
  try {
    const { stdout } = await promisify(execFile)(command, [...gpu, ...QUERY], { timeout: TIMEOUT_MS });
    const free = Number(stdout.trim().split('\n')[0]);
    return Number.isFinite(free) && free > 0 ? Math.floor(SHARE * free) : undefined;
  } catch {
    return undefined;
  }
}

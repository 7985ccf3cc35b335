// What the benchmark runs on: the graphics card as its driver describes it, and versions.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const QUERY = ['name', 'driver_version', 'memory.total', 'memory.free', 'compute_cap'] as const;
const TIMEOUT_MS = 20_000;

export interface Gpu {
  readonly name: string;
  readonly driver: string;
  readonly memoryMiB: number;
  readonly freeMiB: number;
  readonly computeCapability: string;
}

/** The first one that this process may see; null where NVIDIA's driver tells of none. */
export async function readGpu(visible = process.env.CUDA_VISIBLE_DEVICES, command = 'nvidia-smi'): Promise<Gpu | null> {
  const [first] = visible?.split(',') ?? [];
  const which = first === undefined || first.trim() === '' ? [] : ['-i', first.trim()];
  try {
    const args = [...which, `--query-gpu=${QUERY.join(',')}`, '--format=csv,noheader,nounits'];
    const { stdout } = await promisify(execFile)(command, args, { timeout: TIMEOUT_MS });
    return parseGpu(stdout);
  } catch {
    return null;
  }
}

export function parseGpu(csv: string): Gpu | null {
  const [name, driver, memory, free, computeCapability] =
    csv
      .trim()
      .split('\n')[0]
      ?.split(',')
      .map((cell) => cell.trim()) ?? [];
  if (name === undefined || driver === undefined || computeCapability === undefined) return null;
  return { name, driver, memoryMiB: Number(memory), freeMiB: Number(free), computeCapability };
}

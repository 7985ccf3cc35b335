// What the benchmark runs on: the graphics card as its driver describes it, and versions.

import { firstRow, queryGpu } from '../../src/cli/device-memory.ts';

const QUERY = ['name', 'driver_version', 'memory.total', 'memory.free', 'compute_cap'] as const;

export interface Gpu {
  readonly name: string;
  readonly driver: string;
  readonly memoryMiB: number;
  readonly freeMiB: number;
  readonly computeCapability: string;
}

/** The first one that this process may see; null where NVIDIA's driver tells of none. */
export async function readGpu(visible = process.env.CUDA_VISIBLE_DEVICES): Promise<Gpu | null> {
  const answer = await queryGpu(QUERY, visible);
  return answer === null ? null : parseGpu(answer);
}

export function parseGpu(csv: string): Gpu | null {
  const [name, driver, memory, free, computeCapability] = firstRow(csv);
  if (name === undefined || driver === undefined || computeCapability === undefined) return null;
  return { name, driver, memoryMiB: Number(memory), freeMiB: Number(free), computeCapability };
}

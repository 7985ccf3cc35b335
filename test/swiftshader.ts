// A Vulkan driver in software, from the npm package of the tests' browser: WebGPU for real on machines without a graphics card. Linux only.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';

const cache = fileURLToPath(new URL('../.cache', import.meta.url));
const folder = join(cache, 'swiftshader-141.0.0');

/** Environment of a process that shall find the driver, and no other. The first call unpacks it. */
export async function softwareVulkan(): Promise<Record<string, string>> {
  if (!existsSync(folder)) await unpack();
  return { VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json'), LD_LIBRARY_PATH: folder };
}

/** Environment of a process that shall find no driver at all. */
export const noVulkan = { VK_ICD_FILENAMES: join(cache, 'no-such-driver.json') } as const;

async function unpack(): Promise<void> {
  const archive = join(dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium')), '..', '..', 'bin', 'swiftshader.tar.br');
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'swiftshader-'));
  const tar = join(work, 'swiftshader.tar');
  await writeFile(tar, await promisify(brotliDecompress)(await readFile(archive)));
  await promisify(execFile)('tar', ['-xf', tar, '-C', work]);
  await rm(tar);
  // Whole or not at all, whoever is first.
  await rename(work, folder).catch(() => rm(work, { recursive: true, force: true }));
}

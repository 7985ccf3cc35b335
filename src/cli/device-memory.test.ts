// What is asked of NVIDIA's driver, and made of its answer: against a command that plays nvidia-smi.

import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { usableGpuMemory } from './device-memory.ts';

let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nvidia-'));
});
after(() => rm(folder, { recursive: true }));

async function driver(answer: string, exitCode = 0): Promise<string> {
  const command = join(folder, 'nvidia-smi');
  await writeFile(command, `#!/bin/sh\necho "$*" > '${folder}/asked'\nprintf '${answer}'\nexit ${exitCode}\n`);
  await chmod(command, 0o755);
  return command;
}

test('80 % of what is free is used, of the first GPU that may be seen', async () => {
  assert.equal(await usableGpuMemory('3,1', 1, await driver('20000, 24000\\n')), 16_000);
  assert.match(await readFile(join(folder, 'asked'), 'utf8'), /^-i 3 /);
  assert.equal(await usableGpuMemory(undefined, 1, await driver('1000, 24000\\n20000, 24000\\n')), 800);
  assert.doesNotMatch(await readFile(join(folder, 'asked'), 'utf8'), /-i/);
});

test('of a GPU that is shared no more than the own share is used, whatever is free', async () => {
  assert.equal(await usableGpuMemory('0', 0.5, await driver('24000, 24000')), 9600);
  assert.equal(await usableGpuMemory('0', 0.5, await driver('5000, 24000')), 4000);
});

test('a driver that is not there, fails, or does not know is no answer', async () => {
  assert.equal(await usableGpuMemory('0', 1, join(folder, 'none')), undefined);
  assert.equal(await usableGpuMemory('0', 1, await driver('20000, 24000', 9)), undefined);
  for (const answer of ['', '[N/A], [N/A]', '0, 24000'])
    assert.equal(await usableGpuMemory('0', 1, await driver(answer)), undefined, answer);
});

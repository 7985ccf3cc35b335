// Virtual environments: made when something is missing, kept otherwise, and refused with words a person can act on.

import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CommandError } from './command-error.ts';
import { createPipProgress, ensureVirtualEnvironment } from './python.ts';

const root = await mkdtemp(join(tmpdir(), 'python-'));
after(() => rm(root, { recursive: true }));

/** A PATH with nothing but these programs. */
async function withPath<T>(programs: Readonly<Record<string, string>>, work: () => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(root, 'path-'));
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(folder, name), 0o755);
  }
  const before = process.env.PATH;
  process.env.PATH = folder;
  try {
    return await work();
  } finally {
    process.env.PATH = before;
  }
}

test('an environment without requirements is made once, and is taken as it is afterwards', async () => {
  const folder = join(root, 'made');
  const steps: string[] = [];
  const options = { folder, requirements: [], onProgress: (step: string) => steps.push(step) };
  // pip refuses to install nothing at all: that is enough to see that it runs, and what is said when it fails
  await assert.rejects(ensureVirtualEnvironment(options), /^CommandError: pip could not install .*\n.*must give at least one requirement/s);
  assert.deepEqual(steps, ['making a virtual environment']);
});

test('an environment that holds more than is asked for is used; one that lacks something is not', async () => {
  const folder = join(root, 'stamped');
  await mkdir(join(folder, 'bin'), { recursive: true });
  await symlink(process.execPath, join(folder, 'bin', 'python'));
  await writeFile(join(folder, 'requirements.txt'), 'one==1\ntwo==2\n');
  assert.equal(await ensureVirtualEnvironment({ folder, requirements: ['two==2'] }), join(folder, 'bin', 'python'));
  await withPath({}, () =>
    assert.rejects(ensureVirtualEnvironment({ folder, requirements: ['two==3'] }), /there is no python3 on the PATH/),
  );
  await rm(join(folder, 'bin', 'python'));
  await symlink(join(root, 'gone'), join(folder, 'bin', 'python'));
  await withPath({}, () =>
    assert.rejects(ensureVirtualEnvironment({ folder, requirements: ['two==2'] }), /there is no python3 on the PATH/),
  );
  assert.ok((await stat(folder)).isDirectory());
});

test('a Python that is too old or lacks venv is named', async () => {
  const options = { folder: join(root, 'refused'), requirements: ['x==1'], minimumVersion: [3, 10] } as const;
  const programs = { python3: 'echo 3 9', 'python3.12': 'echo 3 12; exit 1' };
  await withPath(programs, () =>
    assert.rejects(ensureVirtualEnvironment(options), (error: Error) => {
      assert.ok(error instanceof CommandError);
      assert.match(error.message, /Python 3\.10 or newer is needed: python3 is 3\.9; python3\.12 lacks the modules venv and ensurepip/);
      return true;
    }),
  );
});

test('lines of pip become steps', () => {
  const describe = createPipProgress();
  for (const [line, step] of [
    ['Collecting ray[serve]==2.60.0', '1 packages, ray'],
    ['  Downloading ray-2.60.0-cp311-cp311-manylinux2014_x86_64.whl.metadata (21 kB)', null],
    ['Collecting click>=7.0 (from ray[serve]==2.60.0)', '2 packages, click'],
    ['Downloading ray-2.60.0-cp311-cp311-manylinux2014_x86_64.whl (72.1 MB)', 'downloading ray-2.60.0 (72.1 MB)'],
    ['Using cached aiohttp-3.14.5-cp311-cp311-manylinux2014_x86_64.whl (1.7 MB)', null],
    ['Installing collected packages: py-spy, urllib3, typing-extensions', 'installing 3 packages'],
    ['Successfully installed ray-2.60.0', null],
  ] as const) {
    assert.equal(describe(line), step, line);
  }
});

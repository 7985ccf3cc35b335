// The Dockerfile and what goes with it, as far as that can be told without an engine: linted, complete, and nothing in it that is not tried.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { copiesOf, environmentOf, parseDockerfile, type Stage } from './dockerfile.ts';
import { findLinters, type Linters } from './linters.ts';

const projectRoot = fileURLToPath(new URL('..', import.meta.url));
const fromRoot = (path: string): string => join(projectRoot, path);

let source: string;
let stages: readonly Stage[];
let ignored: readonly string[];
let linters: Linters;

before(async () => {
  source = await readFile(fromRoot('Dockerfile'), 'utf8');
  stages = parseDockerfile(source);
  ignored = (await readFile(fromRoot('.dockerignore'), 'utf8')).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  linters = await findLinters();
});

/** What a linter says, with its exit code first. */
async function lint(command: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve) => {
    const child = execFile(command, args, { cwd: projectRoot }, (error, stdout, stderr) =>
      resolve(`${error === null ? 0 : error.code}\n${stdout}${stderr}`),
    );
    child.stdin?.end(input);
  });
}

test('hadolint finds nothing', async () => {
  assert.equal(await lint(linters.hadolint, ['--no-color', '-'], source), '0\n');
});

test('hadolint finds a mistake that is put in, and one whose exception is taken away', async () => {
  const mistaken = `${source}\nRUN cd /tmp && sudo ls\nMAINTAINER nobody\n`;
  const found = await lint(linters.hadolint, ['--no-color', '-'], mistaken);
  for (const code of ['DL3003', 'DL3004', 'DL4000']) assert.match(found, new RegExp(code));
  assert.match(await lint(linters.hadolint, ['--no-color', '-'], source.replaceAll('# hadolint ignore=DL3008', '')), /DL3008/);
});

test('each exception from the rules has its reason above it', () => {
  const lines = source.split('\n');
  const exceptions = lines.flatMap((line, index) => (/hadolint ignore/.test(line) ? [index] : []));
  assert.ok(exceptions.length > 0);
  for (const index of exceptions) assert.match(lines[index - 1] ?? '', /^# \w+/, `line ${index + 1}`);
});

test('shellcheck finds nothing in the scripts, and a mistake that is put in', async () => {
  const scripts = (await readdir(fromRoot('docker'))).filter((name) => name.endsWith('.sh')).map((name) => `docker/${name}`);
  assert.ok(scripts.length > 0);
  assert.equal(await lint(linters.shellcheck, ['--color=never', ...scripts, 'scripts/build_image.sh']), '0\n');
  assert.match(await lint(linters.shellcheck, ['--color=never', '-'], '#!/usr/bin/env bash\nrm -rf $1/*\n'), /SC2086/);
});

test('base images have a tag that names a full version', () => {
  const images = [...source.matchAll(/^ARG (?:NODE|CUDA)_IMAGE=(\S+)$/gm)].map(([, image]) => image);
  assert.equal(images.length, 2);
  for (const image of images) assert.match(image ?? '', /^[a-z/]+:\d+\.\d+\.\d+-[a-z0-9.-]+$/);
  const names = stages.map(({ name }) => name);
  for (const { base } of stages) assert.ok(/^\$\{(NODE|CUDA)_IMAGE\}$/.test(base) || names.includes(base), base);
});

test('what is copied is there, and gets to the builder', async () => {
  const allowed = ignored.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
  const sources = new Set(stages.flatMap(copiesOf).flatMap((copy) => copy.sources));
  assert.ok(sources.size > 0);
  for (const path of sources) {
    await access(fromRoot(path));
    assert.ok(allowed.includes(path), `${path} is not in .dockerignore's list`);
  }
  assert.deepEqual([...sources].sort(), [...allowed].sort(), 'nothing else gets there');
});

test('the builder gets no history, packages, results, caches, tests or keys: all is left out but a list of files and folders', () => {
  assert.equal(ignored[0], '*');
  const back = ignored.filter((line) => line.startsWith('!'));
  assert.deepEqual(ignored.filter((line) => !line.startsWith('!')).slice(1), ['**/*.test.ts', '**/__pycache__']);
  assert.ok(ignored.indexOf('**/*.test.ts') > ignored.lastIndexOf(back.at(-1) ?? ''), 'tests are left out after the list, so for good');
  for (const line of back) {
    assert.doesNotMatch(line, /[*?[\]]/, 'names, no patterns');
    assert.doesNotMatch(line, /^!(\.|\.git|node_modules|dist|bench.*|test.*|\.cache.*|\.env.*|.*secret.*)$/);
  }
});

/** Steps that are not in a script: nothing in them could go wrong on its own account. */
const PLAIN_STEPS = [
  /^npm ci$/,
  /^apt-get update && apt-get install --yes --no-install-recommends [a-z0-9 -]+ && rm -rf \/var\/lib\/apt\/lists\/\*$/,
];

test('a RUN step is a script of docker/, or plain', async () => {
  const steps = stages.flatMap((stage) => stage.steps.filter(({ instruction }) => instruction === 'RUN'));
  const called = new Set<string>();
  for (const { line, text } of steps) {
    const [, script] = /^(?:\/build\/)?(docker\/[a-z-]+\.sh)$/.exec(text) ?? [];
    if (script === undefined) {
      assert.ok(
        PLAIN_STEPS.some((plain) => plain.test(text)),
        `line ${line}: ${text}`,
      );
      continue;
    }
    called.add(script);
    await access(fromRoot(script), constants.X_OK);
    assert.match(await readFile(fromRoot(script), 'utf8'), /^#!\/usr\/bin\/env bash\n# .*\n(# .*\n)*set -euo pipefail\n/, script);
  }
  const scripts = (await readdir(fromRoot('docker'))).filter((name) => name.endsWith('.sh')).map((name) => `docker/${name}`);
  assert.deepEqual([...called].sort(), scripts.sort(), 'none is left over');
});

test('docs/container.md names every variable and both base images', async () => {
  const page = await readFile(fromRoot('docs/container.md'), 'utf8');
  const cpu = stages.at(-1);
  assert.ok(cpu);
  const names = Object.keys(environmentOf(cpu, {})).filter((name) => name !== 'PATH');
  assert.ok(names.length > 5);
  for (const name of names) assert.ok(page.includes(`\`${name}`), name);
  for (const [, image = ''] of source.matchAll(/^ARG (?:NODE|CUDA)_IMAGE=(\S+)$/gm)) assert.ok(page.includes(image), image);
});

test('no secret is an argument or a variable of the build', () => {
  for (const stage of stages) {
    for (const { instruction, line, text } of stage.steps) {
      if (instruction === 'ARG' || instruction === 'ENV') assert.doesNotMatch(text, /TOKEN|KEY|PASSWORD|SECRET/i, `line ${line}`);
    }
  }
});

test('the images run as a user without rights, and differ in their base, the files of onnxruntime, the device and its graphs only', () => {
  const [cpu, gpu] = ['cpu', 'gpu'].map((name) => stages.find((stage) => stage.name === name));
  assert.equal(stages.at(-1), cpu, 'without a target it is the CPU image');
  const bare = (stage: Stage | undefined): string[] =>
    stage?.steps.map(({ flags, instruction, text }) => {
      const from = (flags.from ?? '')
        .replace(/^[cg]pu-/, '')
        .replace('-cuda', '')
        .replace('graphs', 'model');
      return [instruction, from, text.replace(/WHISPER_DEVICE=\w+/, 'WHISPER_DEVICE')].join(' ');
    }) ?? [];
  assert.deepEqual(bare(gpu), bare(cpu));
  const devices = [cpu, gpu].map((stage) => stage && environmentOf(stage, {}).WHISPER_DEVICE);
  assert.deepEqual(devices, ['cpu', 'cuda']);
  const graphs = stages.find(({ name }) => name === 'graphs');
  assert.equal(graphs?.base, 'model');
  const user = cpu?.steps.find(({ instruction }) => instruction === 'USER');
  assert.equal(user?.text, '1000:1000', 'a number, so that Kubernetes can tell that it is not root');
});

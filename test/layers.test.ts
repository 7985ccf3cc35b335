// The layer rules hold: each forbidden import or global, planted in a copy of the tree, turns the linter red; the allowed ones stay green.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const projectRoot = fileURLToPath(new URL('..', import.meta.url));
const biome = join(projectRoot, 'node_modules', '@biomejs', 'biome', 'bin', 'biome');

/** Left may not import right; `protocol` is for the four on the right of it and for `client`. */
const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  core: ['audio', 'model', 'tokenizer', 'engine', 'streaming', 'protocol', 'client', 'server', 'cli'],
  audio: ['model', 'tokenizer', 'engine', 'streaming', 'protocol', 'client', 'server', 'cli'],
  model: ['audio', 'tokenizer', 'engine', 'streaming', 'protocol', 'client', 'server', 'cli'],
  tokenizer: ['audio', 'model', 'engine', 'streaming', 'protocol', 'client', 'server', 'cli'],
  engine: ['streaming', 'protocol', 'client', 'server', 'cli'],
  streaming: ['client', 'server', 'cli'],
  protocol: ['core', 'audio', 'model', 'tokenizer', 'engine', 'streaming', 'client', 'server', 'cli'],
  client: ['core', 'audio', 'model', 'tokenizer', 'engine', 'streaming', 'server', 'cli'],
  server: ['client', 'cli'],
};

const LAYERS = [...Object.keys(FORBIDDEN), 'cli'];

/** Packages and the one layer that may import them. */
const OWNERS: Readonly<Record<string, string>> = {
  'onnxruntime-node': 'engine',
  'node-av': 'audio',
  'node-av/api': 'audio',
  fastify: 'server',
  '@fastify/static': 'server',
  ws: 'server',
};

interface Plant {
  readonly file: string;
  readonly source: string;
  /** The rule that must report the file, or null where no rule may. */
  readonly rule: string | null;
}

const importing = (specifier: string): string => `import { x } from '${specifier}';\n\nexport const y = x;\n`;

function plants(): Plant[] {
  const list: Plant[] = [];
  for (const layer of LAYERS) {
    for (const other of LAYERS) {
      const forbidden = FORBIDDEN[layer]?.includes(other) ?? false;
      const specifier = other === layer ? './x.ts' : `../${other}/x.ts`;
      list.push({ file: `src/${layer}/imports-${other}.ts`, source: importing(specifier), rule: forbidden ? 'noRestrictedImports' : null });
    }
    for (const [name, owner] of Object.entries(OWNERS)) {
      const file = `src/${layer}/package-${name.replace(/\W/g, '-')}.ts`;
      list.push({ file, source: importing(name), rule: layer === owner ? null : 'noRestrictedImports' });
    }
    const inCli = layer === 'cli';
    const globals: ReadonlyArray<readonly [string, string, string]> = [
      ['exit', 'export const stop = () => process.exit(1);\n', 'noProcessExit'],
      ['env', 'export const home = process.env.HOME;\n', 'noProcessEnv'],
      ['console', "export const say = () => console.log('x');\n", 'noConsole'],
    ];
    for (const [name, source, rule] of globals) list.push({ file: `src/${layer}/global-${name}.ts`, source, rule: inCli ? null : rule });
  }
  list.push(
    {
      file: 'src/core/type-import.ts',
      source: "import type { X } from '../server/x.ts';\n\nexport type Y = X;\n",
      rule: 'noRestrictedImports',
    },
    { file: 'src/core/deep/inner.ts', source: importing('../../engine/x.ts'), rule: 'noRestrictedImports' },
    { file: 'src/core/dynamic.ts', source: "export const load = () => import('../server/x.ts');\n", rule: 'noRestrictedImports' },
    { file: 'src/streaming/env.ts', source: "import { env } from 'node:process';\n\nexport const y = env;\n", rule: 'noRestrictedImports' },
    { file: 'src/client/node.ts', source: importing('node:fs'), rule: 'noRestrictedImports' },
    { file: 'src/protocol/errors.ts', source: importing('../core/errors.ts'), rule: null },
    { file: 'src/core/cycle-a.ts', source: "import type { B } from './cycle-b.ts';\n\nexport type A = B;\n", rule: 'noImportCycles' },
    { file: 'src/core/cycle-b.ts', source: "import type { A } from './cycle-a.ts';\n\nexport type B = A;\n", rule: 'noImportCycles' },
    {
      file: 'src/core/focused.test.ts',
      source: "import { test } from 'node:test';\n\ntest.only('x', () => {});\n",
      rule: 'noFocusedTests',
    },
  );
  return list;
}

let folder: string;
/** File -> the lint rules that reported it. */
const reported = new Map<string, Set<string>>();

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layers-'));
  await copyFile(join(projectRoot, 'biome.json'), join(folder, 'biome.json'));
  for (const layer of LAYERS) {
    await mkdir(join(folder, 'src', layer), { recursive: true });
    await writeFile(join(folder, 'src', layer, 'x.ts'), 'export const x = 1;\nexport type X = number;\n');
  }
  for (const plant of plants()) {
    await mkdir(dirname(join(folder, plant.file)), { recursive: true });
    await writeFile(join(folder, plant.file), plant.source);
  }
  const output = await new Promise<string>((resolve) => {
    const options = ['lint', '--vcs-enabled=false', '--reporter=json', '--max-diagnostics=none', '.'];
    // The exit code is 1, as it should be: the plants are there to be found.
    execFile(process.execPath, [biome, ...options], { cwd: folder, maxBuffer: 2 ** 28 }, (_error, stdout) => resolve(stdout));
  });
  for (const { category, location } of JSON.parse(output).diagnostics) {
    const file = String(location.path?.file ?? location.path).replaceAll('\\', '/');
    const rules = reported.get(file) ?? new Set();
    reported.set(file, rules.add(String(category).split('/').at(-1) ?? ''));
  }
});

after(() => rm(folder, { recursive: true, force: true }));

test('every forbidden import, package and global is reported by its rule', () => {
  const missed = plants().filter(({ file, rule }) => rule !== null && !reported.get(file)?.has(rule));
  assert.deepEqual(
    missed.map(({ file, rule }) => `${file} (${rule})`),
    [],
  );
});

test('nothing allowed is reported', () => {
  const wrong = plants().filter(({ file, rule }) => rule === null && reported.has(file));
  assert.deepEqual(
    wrong.map(({ file }) => `${file}: ${[...(reported.get(file) ?? [])]}`),
    [],
  );
});

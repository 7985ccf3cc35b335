// The examples of docs/api.md run as they stand, but for the port.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { spokenBytes, startTestServer, wavOf } from '../../test/server-harness.ts';

const execute = promisify(execFile);
const projectRoot = fileURLToPath(new URL('../..', import.meta.url));
const page = await readFile(join(projectRoot, 'docs/api.md'), 'utf8');
const server = await startTestServer();
const folder = await mkdtemp(join(tmpdir(), 'api-docs-'));
await writeFile(join(folder, 'speech.wav'), wavOf(spokenBytes(0, 6)));
await symlink(join(projectRoot, 'node_modules'), join(folder, 'node_modules'));
after(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

function example(language: string): string {
  const block = page.match(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``))?.[1];
  assert.ok(block !== undefined, `no ${language} example`);
  return block.replaceAll('localhost:8000', `127.0.0.1:${server.port}`);
}

const isMissing = (command: string): Promise<boolean> =>
  execute(command, ['--version']).then(
    () => false,
    () => true,
  );

const WORDS = 'w0 w1 w2 w3 w4 w5 w6 w7 w8 w9';

test('the curl examples print the transcript in the formats they ask for', async (t) => {
  if (await isMissing('curl')) return t.diagnostic('curl is not installed: nothing to try');
  const [json, srt, text] = await Promise.all(
    example('sh')
      .trim()
      .split('\n')
      .map(async (line) => (await execute('sh', ['-c', line.replace('curl', 'curl --silent --show-error')], { cwd: folder })).stdout),
  );
  assert.equal(JSON.parse(json ?? '').text, WORDS);
  assert.match(srt ?? '', /^1\n00:00:00,/);
  assert.equal(text, `${WORDS}\n`);
});

test('the JavaScript example prints the finals', async () => {
  await writeFile(join(folder, 'example.mjs'), example('js'));
  const { stdout, stderr } = await execute(process.execPath, ['example.mjs'], { cwd: folder });
  assert.equal(stderr, '');
  assert.match(stdout, /w0 w1 /);
});

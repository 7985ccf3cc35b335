// The command line as a user meets it: help, options by flag and environment, exit codes, and results on standard output.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FAKE_REPOSITORY, startFakeHub } from '../../test/fake-hub.ts';

const main = fileURLToPath(new URL('./main.ts', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'cli-'));
after(() => rmSync(root, { recursive: true }));

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function cli(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Result> {
  const child = spawn(process.execPath, ['--import', 'tsx', main, ...args], {
    env: { ...process.env, WHISPER_CACHE: root, ...environment },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
}

test('every command explains its options', async () => {
  for (const [args, wanted] of [
    [['--help'], ['serve', 'transcribe', 'models']],
    [
      ['serve', '--help'],
      ['--host', '--port', '--model', '--engines', '--threads', '--max-sessions', 'WHISPER_MAX_SESSIONS', 'HF_ENDPOINT'],
    ],
    [
      ['transcribe', '--help'],
      ['--format', '--language', '--word-timestamps', '--output-dir', '--engines', 'WHISPER_MODEL'],
    ],
    [
      ['models', '--help'],
      ['list', 'download', 'path'],
    ],
    [
      ['ray', '--help'],
      ['start', 'stop', 'status'],
    ],
    [
      ['ray', 'start', '--help'],
      ['--detach', '--asr-replicas', '--gpus', '--dashboard-port', 'WHISPER_RAY_CPUS', 'RAY_AUTH_MODE'],
    ],
  ] as const) {
    const { code, stdout } = await cli(args);
    assert.equal(code, 0);
    for (const word of wanted) assert.ok(stdout.includes(word), `${args.join(' ')} names ${word}`);
  }
});

test('wrong options end with 1 and say what was expected, from flags and environment alike', async () => {
  const flag = await cli(['serve', '--port', '70000']);
  assert.equal(flag.code, 1);
  assert.match(flag.stderr, /--port.*'70000' is invalid.*whole number from 0 to 65535/);
  const variable = await cli(['serve'], { WHISPER_THREADS: 'many' });
  assert.equal(variable.code, 1);
  assert.match(variable.stderr, /'many' from env 'WHISPER_THREADS' is invalid/);
  const engines = await cli(['transcribe', '--engines', '0', 'file']);
  assert.equal(engines.code, 1);
  assert.match(engines.stderr, /--engines.*'0' is invalid.*whole number from 1/);
  assert.equal((await cli(['serve', '--no-such-option'])).code, 1);
  assert.equal((await cli(['models', 'list'], { WHISPER_THREADS: '', WHISPER_PORT: '' })).code, 0);
});

test('a flag that the environment gives as 0 or false is not set', async () => {
  const stderrWith = async (quiet: string): Promise<string> =>
    (await cli(['serve', '--host', '127.0.0.1', '--port', '0', '--model', './no-such-folder'], { WHISPER_QUIET: quiet })).stderr;
  assert.match(await stderrWith('0'), /^Listening/m);
  assert.doesNotMatch(await stderrWith('1'), /^Listening/m);
});

test('models: path of what is there, list, download with the folder on standard output', async (context) => {
  const missing = await cli(['models', 'path', 'base']);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^error: Model base could not be had\. cache .*: not there\n$/);

  const local = join(root, 'mine');
  mkdirSync(local);
  writeFileSync(join(local, 'model.bin'), '');
  assert.equal((await cli(['models', 'path', local])).stdout, `${local}\n`);

  const hub = await startFakeHub();
  context.after(() => hub.close());
  const downloaded = await cli(['models', 'download', FAKE_REPOSITORY], { HF_ENDPOINT: hub.endpoint, HTTP_PROXY: '', http_proxy: '' });
  assert.deepEqual(downloaded, { code: 0, stdout: `${join(root, 'models', 'someone--whisper-fake')}\n`, stderr: '' });

  const { stdout } = await cli(['models', 'list']);
  assert.match(stdout, /^base +- +Systran\/faster-whisper-base, or PyPI$/m);
  assert.match(stdout, /^someone\/whisper-fake +yes +/m);
});

test('the hub is reached with the token, and not at all when it is switched off', async (context) => {
  const hub = await startFakeHub({ token: 'secret' });
  context.after(() => hub.close());
  const environment = { HF_ENDPOINT: hub.endpoint, WHISPER_CACHE: mkdtempSync(join(root, 'cache-')), HTTP_PROXY: '', http_proxy: '' };
  const refused = await cli(['models', 'download', FAKE_REPOSITORY], environment);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /HTTP 401/);
  const offline = await cli(['models', 'download', FAKE_REPOSITORY], { ...environment, HF_HUB_OFFLINE: '1', HF_TOKEN: 'secret' });
  assert.match(offline.stderr, /switched off \(offline\)/);
  assert.equal(
    (await cli(['models', 'download', FAKE_REPOSITORY, '--quiet'], { ...environment, HUGGING_FACE_HUB_TOKEN: 'secret' })).code,
    0,
  );
});

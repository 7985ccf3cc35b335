// The content of the container image: every step of the Dockerfile but apt's, in its order, in a folder; then the service, started from
// there as a container would start it. No container engine is needed, so none is tested.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { readPythonRequirements } from '../../src/cli/ray/requirements.ts';
import { FAKE_REPOSITORY, startFakeHub } from '../fake-hub.ts';
import { ImageFolder } from '../image-folder.ts';
import { testModelDir } from '../models.ts';

const CACHE = '/var/cache/whisper-streaming';
const READY_MS = 60_000;
const POLL_MS = 100;
const speech = fileURLToPath(new URL('../../docs/speech.ogg', import.meta.url));

/** What docker/system.sh finds in the base image: somebody who has the number 1000, and npm. */
const BASE_FILES: Readonly<Record<string, string>> = {
  '/etc/passwd': 'root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/bash\n',
  '/etc/group': 'root:x:0:\nnode:x:1000:\n',
  '/etc/shadow': 'root:*:20000:0:99999:7:::\nnode:!:20000:0:99999:7:::\n',
  '/etc/gshadow': 'root:*::\nnode:!::\n',
  '/home/node/.profile': '',
  '/usr/local/lib/node_modules/npm/package.json': '{}',
  '/usr/local/bin/npm': '',
};

let image: ImageFolder;
/** Whether this machine's Python is one that the pinned versions of the image are for. */
let isPinned: boolean;

before(async () => {
  isPinned = await hasPinnedPython();
  image = await ImageFolder.create({ MODEL: 'tiny.en', PRECISION: 'auto', ...(!isPinned && { CONSTRAINTS: '/dev/null' }) });
  // builders are independent, and mostly wait for a registry
  await Promise.all([image.build('build'), image.build('cpu-python')]);
  for (const [path, text] of Object.entries(BASE_FILES)) {
    await mkdir(dirname(image.path(path)), { recursive: true });
    await writeFile(image.path(path), text);
  }
  await image.build('cpu-system');
  await cp(await testModelDir('tiny.en'), image.path(`${CACHE}/models/tiny.en`), { recursive: true });
  await image.build('model');
  await image.build('graphs');
  // its last step is docker/check.sh
  await image.build('cpu');
});

after(() => image?.remove());

/** The image has 3.11 (Debian 12) or 3.12 (Ubuntu 24.04); for 3.10, which is enough for the service, some packages have older versions. */
async function hasPinnedPython(): Promise<boolean> {
  const { stdout } = await promisify(execFile)('python3', ['-c', 'import sys; print(sys.version_info >= (3, 11))']);
  return stdout.trim() === 'True';
}

/** Every file below, with its size and time. */
async function snapshot(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const lines = await Promise.all(files.map(async (file) => `${file} ${(await stat(file)).size} ${(await stat(file)).mtimeMs}`));
  return lines.sort();
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

test('the service has what it needs to run, and nothing of what it was built with', async () => {
  assert.deepEqual((await readdir(image.path('/app'))).sort(), [
    'LICENSE',
    'client',
    'deploy',
    'dist',
    'licenses',
    'node_modules',
    'package.json',
    'python',
  ]);
  const files = (await snapshot(image.path('/app'))).map((line) => line.slice(image.root.length));
  const unwanted = /\.test\.js |^\/app\/node_modules\/(typescript|@typescript|tsx|playwright-core|@biomejs)\//;
  const ours = files.filter((line) => unwanted.test(line) && !/node_modules\/.*\.test\.js /.test(line));
  assert.deepEqual(ours, []);
  const binaries = files.filter((line) => line.includes('/onnxruntime_binding.node '));
  assert.equal(binaries.length, 1, 'of onnxruntime the files of one platform');
});

test('the licences of all packages are in it, with the texts that FFmpeg asks for', async () => {
  const read = (name: string): Promise<string> => readFile(image.path(`/app/licenses/${name}`), 'utf8');
  assert.match(await read('node-packages.txt'), /^fastify \d.*\nMIT\n/m);
  assert.match(await read('python-packages.txt'), /^ray\n2\.\d+\.\d+\n.*Apache/m);
  const ffmpeg = await read('ffmpeg.txt');
  for (const part of [/--enable-gpl/, /GNU GENERAL PUBLIC LICENSE\s+Version 3/, /Fraunhofer/]) assert.match(ffmpeg, part);
});

test('Python has the versions that are pinned, those that others bring along included, and `ray start` takes the environment as it is', async () => {
  const { requirements } = await readPythonRequirements();
  assert.equal(await readFile(image.path('/opt/venv/requirements.txt'), 'utf8'), `${requirements.join('\n')}\n`);
  const pinned = (await readFile(image.path('/build-cpu-system/docker/constraints.txt'), 'utf8')).split('\n');
  const installed = (await image.run('cpu', 'python -m pip freeze')).trim().split('\n');
  assert.ok(installed.length > 50);
  if (isPinned)
    assert.deepEqual(
      installed,
      pinned.filter((line) => line !== '' && !line.startsWith('#')),
    );
});

test('the user is ray, whoever had its number before; a login shell finds Ray; there is no package manager', async () => {
  const users = await readFile(image.path('/etc/passwd'), 'utf8');
  assert.match(users, /^ray:x:\d+:\d+::\/home\/ray:\/bin\/bash$/m);
  if (process.getuid?.() === 0) assert.doesNotMatch(users, /node/);
  const path = await image.run(
    'cpu',
    `env -i PATH=/usr/bin:/bin bash --norc -c '. ${image.path('/etc/profile.d/whisper-streaming.sh')}; echo $PATH'`,
  );
  assert.equal(path, '/opt/venv/bin:/usr/bin:/bin\n');
  assert.equal(existsSync(image.path('/usr/local/bin/npm')) || existsSync(image.path('/usr/local/lib/node_modules')), false);
});

test('the model and its graphs are in the cache, with times that a layer of an image can keep', async () => {
  const files = (await snapshot(image.path(CACHE))).filter((line) => line.includes('/models/'));
  assert.ok(files.some((line) => line.includes('/model.bin ')));
  for (const line of files) assert.ok(line.includes('manifest.json') || line.endsWith('000'), line);
  assert.equal((await readdir(image.path(`${CACHE}/graphs`))).length, 1);
});

test('the container starts the service, becomes healthy, transcribes, writes nothing into its cache, and ends with 0', async (context) => {
  const port = String(await freePort());
  const environment = { WHISPER_HOST: '127.0.0.1', WHISPER_PORT: port };
  const before = await snapshot(image.path(CACHE));
  const service = image.start('cpu', environment);
  context.after(() => service.kill('SIGKILL'));
  let output = '';
  for (const stream of [service.stdout, service.stderr]) stream?.on('data', (chunk) => (output += chunk));
  const deadline = Date.now() + READY_MS;
  while (!(await image.isHealthy('cpu', environment))) {
    assert.equal(service.exitCode, null, output);
    assert.ok(Date.now() < deadline, output);
    await delay(POLL_MS);
  }
  const response = await fetch(`http://127.0.0.1:${port}/transcribe?response_format=text`, {
    method: 'POST',
    body: await readFile(speech),
  });
  assert.match(await response.text(), /quick brown fox jumps over the lazy dog/i);
  assert.match(await (await fetch(`http://127.0.0.1:${port}/`)).text(), /<title>/);
  service.kill('SIGTERM');
  const [code] = await once(service, 'exit');
  assert.equal(code, 0, output);
  assert.equal(await image.isHealthy('cpu', environment), false);
  assert.deepEqual(await snapshot(image.path(CACHE)), before);
});

test('a container of the GPU image that finds no GPU ends, and says why', async () => {
  const service = image.start('gpu', { WHISPER_PORT: String(await freePort()) });
  let output = '';
  for (const stream of [service.stdout, service.stderr]) stream?.on('data', (chunk) => (output += chunk));
  const [code] = await once(service, 'close');
  assert.equal(code, 1, output);
  assert.match(output, /--device cuda: onnxruntime's CUDA files are not installed/);
});

test('the check of a finished image is red where a library, a module or the right Node.js is missing', async () => {
  const check = (): Promise<string> => image.run('cpu', 'docker/check.sh');
  const [binding = ''] = (await snapshot(image.path('/app/node_modules/onnxruntime-node'))).filter((line) =>
    line.includes('onnxruntime_binding'),
  );
  const losses = [
    [join(dirname(binding), 'libonnxruntime.so.1'), /onnxruntime_binding\.node needs libonnxruntime\.so\.1/],
    [image.path('/app/python/whisper_serve'), /No module named 'whisper_serve'/],
    [image.path('/app/node_modules/node-av'), /node-av/],
  ] as const;
  for (const [path, message] of losses) {
    await rename(path, `${path}.lost`);
    await assert.rejects(check, message);
    await rename(`${path}.lost`, path);
  }
  await rename(image.path('/usr/local/bin/node'), image.path('/usr/local/bin/node.lost'));
  if (!process.version.startsWith('v24.')) await assert.rejects(check, /Node\.js is v.*, not 24/);
  await rename(image.path('/usr/local/bin/node.lost'), image.path('/usr/local/bin/node'));
  assert.match(await check(), /whisper-streaming .* on Node\.js v24\./);
});

test('a model from the hub comes by the token of the build secret, which is not written anywhere', async (context) => {
  const token = 'hf_of_this_test';
  const hub = await startFakeHub({ token });
  context.after(() => hub.close());
  const cache = image.path('/tmp/cache');
  const secret = image.path('/tmp/secret');
  const environment = { MODEL: FAKE_REPOSITORY, WHISPER_CACHE: cache, HF_ENDPOINT: hub.endpoint, HUB_TOKEN_FILE: secret };
  const fetchModel = (): Promise<string> => image.run('model', 'docker/fetch-model.sh', environment);
  await assert.rejects(fetchModel, /401/, 'without the secret');
  await writeFile(secret, token);
  assert.equal((await fetchModel()).includes(token), false);
  const files = await snapshot(cache);
  assert.ok(files.some((line) => line.includes(join(FAKE_REPOSITORY.replace('/', '--'), 'model.safetensors '))));
  await assert.rejects(
    image.run('graphs', 'docker/build-graphs.sh', environment),
    /model\.safetensors: the header/,
    'what came is no model',
  );
});

test('an image without a model has an empty cache; a folder of the builder is refused as one', async () => {
  const WHISPER_CACHE = image.path('/tmp/none');
  await image.run('model', 'docker/fetch-model.sh', { MODEL: '', WHISPER_CACHE });
  await image.run('graphs', 'docker/build-graphs.sh', { MODEL: '', WHISPER_CACHE });
  assert.deepEqual(await readdir(WHISPER_CACHE), []);
  await assert.rejects(image.run('model', 'docker/fetch-model.sh', { MODEL: './mine', WHISPER_CACHE }), /a folder is not in the image/);
});

/** Loaded before onnxruntime-node's install script: answers in place of the package feed, which is not to be had here, from a zip of its own. */
const FEED = `
const https = require('node:https');
const { Readable } = require('node:stream');
const AdmZip = require(process.env.APP + '/node_modules/adm-zip');
const zip = new AdmZip();
for (const name of ['cuda', 'shared', 'tensorrt']) zip.addFile('runtimes/linux-x64/native/libonnxruntime_providers_' + name + '.so', Buffer.from(name));
const json = (value) => Buffer.from(JSON.stringify(value));
https.get = (url, _options, listener) => {
  console.log('asked for ' + url);
  const { pathname } = new URL(url);
  const body = pathname.endsWith('.nupkg') ? zip.toBuffer()
    : pathname.includes('microsoft.ml') ? json({ versions: [process.env.FEED_VERSION] })
    : json({ resources: [{ '@type': 'PackageBaseAddress/3.0.0', '@id': 'https://feed.example/flat/' }] });
  listener(Object.assign(Readable.from([body]), { statusCode: 200, headers: { 'content-type': 'application/json' } }));
  return { on() { return this; } };
};
`;

test("onnxruntime's files for CUDA are laid beside its own, by its own script; another version's, or none, make the step fail", async () => {
  const { version } = JSON.parse(await readFile(image.path('/app/node_modules/onnxruntime-node/package.json'), 'utf8')) as {
    version: string;
  };
  const feed = image.path('/tmp/feed.cjs');
  await writeFile(feed, FEED);
  const run = (environment: Readonly<Record<string, string>>): Promise<string> =>
    image.run('build', 'docker/cuda-provider.sh', { NODE_OPTIONS: `--require ${feed}`, ...environment });
  await assert.rejects(run({ FEED_VERSION: '0.0.1' }), /Failed to find specific package versions/);
  const output = await run({ FEED_VERSION: version });
  assert.match(output, new RegExp(`asked for .*/microsoft\\.ml\\.onnxruntime\\.gpu\\.linux\\.${version}\\.nupkg`));
  const folder = image.path('/app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64');
  const names = (await readdir(folder)).sort();
  assert.deepEqual(names, [
    'libonnxruntime.so.1',
    'libonnxruntime_providers_cuda.so',
    'libonnxruntime_providers_shared.so',
    'onnxruntime_binding.node',
  ]);
});

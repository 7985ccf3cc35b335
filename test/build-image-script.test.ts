// scripts/build_image.sh with a docker and an aws that only write down how they were called.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../scripts/build_image.sh', import.meta.url));
const manifest = fileURLToPath(new URL('../package.json', import.meta.url));
const ECR = '123456789012.dkr.ecr.eu-central-1.amazonaws.com';
/** All that the script calls of the system; nothing else is on its PATH, no docker of this machine either. */
const TOOLS = ['bash', 'env', 'dirname', 'sed', 'git', 'base64', 'tr', 'cat'];
const TOKEN = 'hf_a_token_of_this_test';

/** Writes a line for each call: its words, what came on standard input, the token in its environment. Ends as the variables say. */
const FAKE = `#!/usr/bin/env bash
name=\${0##*/}
input=''
case "$*" in *--password-stdin*) input=$(cat) ;; esac
{ printf '%s' "$name"; printf ' %s' "$@"; printf ' | %s | %s\\n' "$input" "\${HUGGING_FACE_HUB_TOKEN:-}"; } >> "$CALLS"
case "$name $*" in
  'docker buildx version') exit "\${BUILDX_EXIT:-0}" ;;
  'docker info') exit "\${ENGINE_EXIT:-0}" ;;
  'docker login '*) exit "\${LOGIN_EXIT:-0}" ;;
  'docker buildx build '*) exit "\${BUILD_EXIT:-0}" ;;
  'aws ecr describe-repositories '*) [[ -z \${DESCRIBE_ERROR:-} ]] || { echo "$DESCRIBE_ERROR" >&2; exit 254; } ;;
  'aws ecr create-repository '*) exit "\${CREATE_EXIT:-0}" ;;
  'aws ecr get-login-password '*) echo the-password ;;
esac
`;

let work: string;
let version: string;

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'build-image-'));
  version = (JSON.parse(await readFile(manifest, 'utf8')) as { version: string }).version;
});

after(() => rm(work, { recursive: true }));

interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** `NAME ARGUMENTS | STANDARD INPUT | TOKEN` */
  readonly calls: readonly string[];
}

async function findTool(name: string): Promise<string> {
  const found = (process.env.PATH ?? '').split(delimiter).find((folder) => existsSync(join(folder, name)));
  assert.ok(found, `no ${name} on this machine`);
  return join(found, name);
}

async function build(
  args: readonly string[],
  { commands = ['docker', 'aws'], environment = {} }: { commands?: readonly string[]; environment?: Readonly<Record<string, string>> } = {},
): Promise<Run> {
  const bin = await mkdtemp(join(work, 'bin-'));
  const calls = join(bin, 'calls');
  await writeFile(calls, '');
  for (const tool of TOOLS) await symlink(await findTool(tool), join(bin, tool));
  for (const command of commands) {
    await writeFile(join(bin, command), FAKE);
    await chmod(join(bin, command), 0o755);
  }
  return new Promise((resolve) => {
    const env = { PATH: bin, CALLS: calls, HOME: work, ...environment };
    execFile(join(bin, 'bash'), [script, ...args], { env, cwd: work }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code);
      void readFile(calls, 'utf8').then((text) => resolve({ code, stdout, stderr, calls: text.split('\n').filter((line) => line !== '') }));
    });
  });
}

const buildCall = ({ calls }: Run): string => calls.find((call) => call.startsWith('docker buildx build ')) ?? '';

test('without options it builds the CPU image with the model base into this machine’s engine, named after the version', async () => {
  const run = await build([]);
  assert.equal(run.code, 0, run.stderr);
  const call = buildCall(run);
  for (const part of [' --target cpu ', ' --platform linux/amd64 ', ' --build-arg MODEL=base ', ' --build-arg PRECISION=auto ', ' --load '])
    assert.ok(call.includes(part), `${part} in ${call}`);
  assert.ok(call.includes(` --tag whisper-streaming:${version}-cpu . |`), call);
  assert.doesNotMatch(call, /--push|--secret|NODE_IMAGE|CUDA_IMAGE/);
  assert.match(run.stdout, new RegExp(`docker run .*whisper-streaming:${version}-cpu`));
});

const BASES: ReadonlyArray<readonly [readonly string[], readonly string[]]> = [
  [['--base-image', 'node:24-slim@sha256:0'], ['NODE_IMAGE=node:24-slim@sha256:0']],
  [
    ['--target', 'gpu', '--base-image', 'cuda:13', '--node-image', 'node:24'],
    ['CUDA_IMAGE=cuda:13', 'NODE_IMAGE=node:24'],
  ],
];

for (const [args, expected] of BASES) {
  test(`bases are build arguments: ${args.join(' ')}`, async () => {
    const given = [...buildCall(await build(args)).matchAll(/--build-arg (\w+_IMAGE=\S+)/g)].map(([, argument]) => argument);
    assert.deepEqual(given, expected);
  });
}

test('a name, a model, no model, and a tag of one’s own reach the build', async () => {
  const call = buildCall(await build(['--tag', 'mine', '--registry', 'registry.example/team', '--model', '', '--precision', 'float32']));
  assert.match(call, / --build-arg MODEL= --build-arg PRECISION=float32 .* --tag registry\.example\/team\/whisper-streaming:mine \. /);
});

test('a GPU image has a precision of GPUs, and the line to start it with hands GPUs over', async () => {
  const run = await build(['--target', 'gpu', '--model', 'large-v3-turbo', '--precision', 'float16']);
  assert.match(buildCall(run), / --target gpu .* --build-arg MODEL=large-v3-turbo --build-arg PRECISION=float16 /);
  assert.match(run.stdout, /docker run --rm --gpus all --publish /);
  assert.doesNotMatch((await build([])).stdout, /--gpus/);
});

test('a push to ECR logs in by standard input and makes the repository that is missing, with scans', async () => {
  const environment = { DESCRIBE_ERROR: 'An error occurred (RepositoryNotFoundException)' };
  const run = await build(['--target', 'gpu', '--push', '--registry', `${ECR}/speech`], { environment });
  assert.equal(run.code, 0, run.stderr);
  const where = '--registry-id 123456789012 --region eu-central-1';
  assert.deepEqual(run.calls.slice(0, -1), [
    'docker buildx version |  | ',
    'docker info |  | ',
    `aws ecr describe-repositories ${where} --repository-names speech/whisper-streaming |  | `,
    `aws ecr create-repository ${where} --repository-name speech/whisper-streaming --image-scanning-configuration scanOnPush=true |  | `,
    'aws ecr get-login-password --region eu-central-1 |  | ',
    `docker login --username AWS --password-stdin ${ECR} | the-password | `,
  ]);
  assert.match(buildCall(run), new RegExp(`--push --tag ${ECR}/speech/whisper-streaming:${version}-gpu \\.`));
  assert.equal(`${run.stdout}${run.stderr}`.includes('the-password'), false);
});

test('a repository that is there is not made again', async () => {
  const run = await build(['--push', '--registry', ECR]);
  assert.equal(run.code, 0, run.stderr);
  assert.equal(run.calls.filter((call) => call.includes('create-repository')).length, 0);
});

test('a push to another registry asks for no aws', async () => {
  const run = await build(['--push', '--platform', 'linux/amd64,linux/arm64', '--registry', 'registry.example'], { commands: ['docker'] });
  assert.equal(run.code, 0, run.stderr);
  assert.match(buildCall(run), /--platform linux\/amd64,linux\/arm64 .*--push/);
});

for (const [name, given] of [
  ['as it is', TOKEN],
  ['in base64', Buffer.from(TOKEN).toString('base64')],
] as const) {
  test(`the hub's token, ${name}, is a secret of the build: in its environment, in no argument and no output`, async () => {
    const environment = { HUGGING_FACE_HUB_TOKEN: given };
    const run = await build([], { environment });
    const [words = '', , token] = buildCall(run).split(' | ');
    assert.match(words, / --secret id=hub-token,env=HUGGING_FACE_HUB_TOKEN /);
    assert.equal(token, TOKEN);
    const dry = await build(['--dry-run'], { environment });
    for (const text of [words, run.stdout, run.stderr, dry.stdout, dry.stderr])
      for (const secret of [TOKEN, given]) assert.equal(text.includes(secret), false);
  });
}

test('a dry run prints the commands as a shell takes them, and needs neither docker nor aws', async () => {
  const run = await build(['--dry-run', '--push', '--registry', ECR, '--model', 'owner/a name'], { commands: [] });
  assert.equal(run.code, 0, run.stderr);
  assert.deepEqual(run.calls, []);
  const lines = run.stdout.trim().split('\n');
  assert.equal(lines.length, 3);
  assert.match(lines[0] ?? '', /^aws ecr describe-repositories .* \|\| aws ecr create-repository /);
  assert.match(lines[1] ?? '', /^aws ecr get-login-password .* \| docker login .* --password-stdin /);
  assert.match(lines[2] ?? '', /^docker buildx build .*MODEL=owner\/a\\ name .*--push .* \.$/);
});

test('the help names every option and exit code that there is', async () => {
  const { code, stdout } = await build(['--help']);
  assert.equal(code, 0);
  const source = await readFile(script, 'utf8');
  const options = new Set(source.match(/(?<=^ {4}(?:.* \| )?)--[a-z-]+(?=.*\))/gm));
  assert.ok(options.size >= 11);
  for (const option of options) assert.ok(stdout.includes(option), option);
  for (const [, exit = ''] of source.matchAll(/EXIT_\w+=(\d)/g)) assert.match(stdout, new RegExp(`\\b${exit} `));
});

const REFUSALS: ReadonlyArray<readonly [string, readonly string[], Parameters<typeof build>[1], number, RegExp]> = [
  ['an unknown option', ['--bogus'], {}, 2, /unknown option --bogus/],
  ['an option without its value', ['--tag'], {}, 2, /--tag needs a value/],
  ['an unknown target', ['--target', 'tpu'], {}, 2, /cpu or gpu, not 'tpu'/],
  ['an unknown precision', ['--precision', 'int4'], {}, 2, /of the target cpu is auto, int8 or float32, not 'int4'/],
  ['a precision that processors do not compute in', ['--precision', 'float16'], {}, 2, /of the target cpu .*, not 'float16'/],
  ['a precision that GPUs do not compute in', ['--target', 'gpu', '--precision', 'int8'], {}, 2, /auto, float16 or float32, not 'int8'/],
  ['a GPU image for arm64', ['--target', 'gpu', '--platform', 'linux/arm64'], {}, 2, /linux\/amd64 only/],
  ['several platforms without a registry', ['--platform', 'linux/amd64,linux/arm64'], {}, 2, /add --push/],
  ['a push to nowhere', ['--push'], {}, 2, /--push needs --registry/],
  ['a registry with a scheme', ['--registry', 'https://registry.example'], {}, 2, /without a scheme/],
  ['a tag that is none', ['--tag', 'a b'], {}, 2, /'a b' is no tag/],
  ['a second base for the CPU image', ['--node-image', 'node:24'], {}, 2, /is for the target gpu/],
  ['a machine without docker', [], { commands: [] }, 3, /no docker on the PATH/],
  ['a docker without buildx', [], { environment: { BUILDX_EXIT: '1' } }, 4, /no buildx/],
  ['an engine that does not run', [], { environment: { ENGINE_EXIT: '1' } }, 5, /does not reach an engine/],
  ['ECR without aws', ['--push', '--registry', ECR], { commands: ['docker'] }, 6, /no aws on the PATH/],
  ['ECR that says no', ['--push', '--registry', ECR], { environment: { DESCRIBE_ERROR: 'AccessDenied' } }, 7, /AccessDenied/],
  [
    'a repository that cannot be made',
    ['--push', '--registry', ECR],
    { environment: { DESCRIBE_ERROR: 'RepositoryNotFoundException', CREATE_EXIT: '1' } },
    7,
    /could not be made/,
  ],
  ['a login that fails', ['--push', '--registry', ECR], { environment: { LOGIN_EXIT: '1' } }, 7, /no login at/],
  ['a build that fails', [], { environment: { BUILD_EXIT: '17' } }, 8, /the build of whisper-streaming:.* failed/],
];

for (const [what, args, options, code, message] of REFUSALS) {
  test(`it stops at ${what}, with exit code ${code}`, async () => {
    const run = await build(args, options);
    assert.equal(run.code, code, run.stderr);
    assert.match(run.stderr, message);
    assert.equal(code < 8 && buildCall(run) !== '', false, 'nothing is built');
  });
}

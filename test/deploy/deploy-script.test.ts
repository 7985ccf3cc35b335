// scripts/deploy.sh: what it asks of kubectl, what it refuses and how it says so, and that the hub's token shows nowhere.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findLinters } from '../linters.ts';
import { READY, runDeploy } from './fake-kubectl.ts';
import { find, parseObjects, podGroup, validate } from './manifests.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/deploy.sh', import.meta.url));
const TOKEN = 'hf_0123456789abcdefghijklmnopqrstuvwxyz';
const base64 = (text: string): string => Buffer.from(text).toString('base64');

test('shellcheck has nothing to say', async () => {
  const { shellcheck } = await findLinters();
  await promisify(execFile)(shellcheck, [SCRIPT]);
});

test('applies the overlay, waits, and prints how to reach the service and the dashboard', async () => {
  const { applied, calls, code, stderr, stdout } = await runDeploy([]);
  assert.equal(code, 0, stderr);
  const [manifests = '', ...more] = applied;
  assert.deepEqual(more, []);
  const objects = parseObjects(manifests);
  assert.deepEqual(await validate(objects), []);
  assert.ok(find(objects, 'RayService').metadata.namespace === 'whisper-streaming');
  assert.match(stdout, /ready after \d+ s: 2 endpoints/);
  assert.match(stdout, /kubectl --namespace whisper-streaming port-forward .*server.* 8000:8000/);
  assert.match(stdout, /kubectl --namespace whisper-streaming port-forward svc\/whisper-streaming-head-svc 8265:8265/);
  // what others have put into an object stays, and a second run finds all as it should be
  const [apply] = calls.filter((call) => call.arguments.includes('apply'));
  for (const argument of ['--server-side', '--force-conflicts', '--field-manager=whisper-streaming-deploy']) {
    assert.ok(apply?.arguments.includes(argument), argument);
  }
  assert.deepEqual((await runDeploy([])).applied, applied);
});

test('the token goes into the Secret, and into no argument, environment or output', async () => {
  const { applied, calls, code, stderr, stdout } = await runDeploy([], {}, { HUGGING_FACE_HUB_TOKEN: base64(TOKEN) });
  assert.equal(code, 0, stderr);
  const [secret] = parseObjects(applied[0] ?? '') as unknown as [{ metadata: object; data: object }];
  assert.deepEqual(secret.metadata, { name: 'whisper-streaming-secrets', namespace: 'whisper-streaming' });
  assert.deepEqual(secret.data, { HUGGING_FACE_HUB_TOKEN: base64(TOKEN) });
  assert.deepEqual(await validate(parseObjects(applied[0] ?? '')), []);
  const shown = [stdout, stderr, ...calls.flatMap((call) => [...call.arguments, call.environment])].join('\n');
  for (const text of [TOKEN, base64(TOKEN)]) assert.ok(!shown.includes(text));
  assert.match(stdout, /whisper-streaming-secrets: HUGGING_FACE_HUB_TOKEN set/);
  assert.equal(applied.length, 2);
});

test('a token that `base64` broke into lines is taken', async () => {
  const long = `hf_${'x'.repeat(100)}`;
  const { applied, code } = await runDeploy([], {}, { HUGGING_FACE_HUB_TOKEN: base64(long).replace(/(.{76})/, '$1\n') });
  assert.equal(code, 0);
  assert.ok(applied[0]?.includes(base64(long)));
});

const WRONG_TOKENS = {
  'is the token itself': TOKEN,
  'is not base64': 'a token!',
  'has a line break': base64(`${TOKEN}\n`),
  'is none': base64('\0\x01\xff'),
};
for (const [name, value] of Object.entries(WRONG_TOKENS)) {
  test(`a token that ${name} is refused before anything is asked of the cluster, and not repeated`, async () => {
    const { calls, code, stderr } = await runDeploy([], {}, { HUGGING_FACE_HUB_TOKEN: value });
    assert.equal(code, 7);
    assert.match(stderr, /HUGGING_FACE_HUB_TOKEN (is|holds) /);
    assert.ok(!stderr.includes(value));
    assert.deepEqual(calls, []);
  });
}

test('what is missing is named, each with an exit code of its own', async () => {
  const cases = [
    [[], { kustomize: 4 }, 3, /too old/],
    [[], { contexts: [] }, 4, /no current context/],
    [['--context', 'there'], {}, 4, /no context there/],
    [[], { answers: false }, 4, /API server does not answer/],
    [['--namespace', 'other'], {}, 5, /no namespace other.*--create-namespace/],
    [[], { hasCrd: false }, 6, /rayservices\.ray\.io[\s\S]*helm install kuberay-operator/],
    [[], { accepts: false }, 8, /refused/],
    [['--overlay', 'tpu'], {}, 2, /--overlay is cpu, gpu or eks/],
    [['--timeout', 'soon'], {}, 2, /--timeout/],
    [['--namespace', 'A b'], {}, 2, /--namespace/],
    [['--image', "x'y"], {}, 2, /--image/],
    [['--image'], {}, 2, /--image needs a value/],
    [['--overlay', 'gpu', '--image', 'x:1'], {}, 2, /--gpu-image/],
    [['--gpu-image', 'x:1'], {}, 2, /gpu and eks/],
    [['--what'], {}, 2, /unknown option --what/],
  ] as const;
  for (const [args, cluster, expected, said] of cases) {
    const { applied, code, stderr } = await runDeploy(args, cluster);
    assert.equal(code, expected, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, said);
    if (expected !== 8) assert.deepEqual(applied, [], args.join(' '));
  }
});

test('without kubectl it says where to get it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'no-kubectl-'));
  try {
    for (const name of ['bash', 'dirname', 'sed']) {
      const { stdout } = await promisify(execFile)('bash', ['-c', `command -v ${name}`]);
      await symlink(stdout.trim(), join(folder, name));
    }
    const running = promisify(execFile)(join(folder, 'bash'), [SCRIPT], { env: { PATH: folder } });
    await assert.rejects(
      running,
      (error: { code: number; stderr: string }) => error.code === 3 && error.stderr.includes('kubectl is not on the PATH'),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('--create-namespace makes a missing namespace with its labels, and leaves one that is there alone', async () => {
  const { applied, code, stderr } = await runDeploy(['--namespace', 'speech', '--create-namespace']);
  assert.equal(code, 0, stderr);
  const [namespace] = parseObjects(applied[0] ?? '');
  assert.equal(namespace?.kind, 'Namespace');
  assert.equal(namespace?.metadata.name, 'speech');
  assert.equal(namespace?.metadata.labels?.['pod-security.kubernetes.io/enforce'], 'restricted');
  for (const { metadata } of parseObjects(applied[1] ?? '')) assert.equal(metadata.namespace, 'speech');
  assert.equal((await runDeploy(['--create-namespace'])).applied.length, 1);
});

test('image, namespace of the operator and context go where they belong', async () => {
  const options = [
    '--overlay',
    'gpu',
    '--context',
    'there',
    '--image',
    'registry.example/speech:2-cpu',
    '--operator-namespace',
    'ray-system',
  ];
  const { applied, calls, code, stderr, stdout } = await runDeploy(options, { contexts: ['here', 'there'] });
  assert.equal(code, 0, stderr);
  const objects = parseObjects(applied[0] ?? '');
  const images = (group: string): string[] => {
    const { containers, initContainers = [] } = podGroup(objects, group).template.spec;
    return [...containers, ...initContainers].map(({ image }) => image);
  };
  assert.deepEqual(images('head'), ['registry.example/speech:2-cpu']);
  assert.deepEqual(images('server'), ['registry.example/speech:2-cpu']);
  assert.deepEqual(images('asr'), ['registry.example/speech:2-gpu', 'registry.example/speech:2-gpu']);
  const [rule] = find(objects, 'NetworkPolicy', 'whisper-streaming-operator').spec.ingress;
  assert.equal(rule.from[0].namespaceSelector.matchLabels['kubernetes.io/metadata.name'], 'ray-system');
  for (const call of calls.filter(({ arguments: args }) => args.includes('apply') || args.includes('rayservice'))) {
    assert.deepEqual(call.arguments.slice(0, 2), ['--context', 'there']);
  }
  assert.match(stdout, /kubectl --context there --namespace whisper-streaming port-forward/);
});

test('waits for the new cluster of a change, and tells how far it is', async () => {
  const statuses = [
    '2|1|True|False|2|RUNNING|',
    '2|2|True|False|2|RUNNING|',
    '2|2|True|True|2|RUNNING|DEPLOYING',
    READY.replaceAll('1|', '2|'),
  ];
  const { code, stdout } = await runDeploy([], { statuses });
  assert.equal(code, 0);
  const steps = ['the operator has not seen it yet', 'new cluster beside the old one, its application DEPLOYING', 'ready after'];
  assert.deepEqual(
    [...steps].sort((one, other) => stdout.indexOf(one) - stdout.indexOf(other)),
    steps,
  );
  for (const step of steps) assert.ok(stdout.includes(step), step);
});

test('what is not ready in time is red, and says what to look at', async () => {
  const { code, stderr, stdout } = await runDeploy(['--timeout', '0'], { statuses: ['1|1|False|False||DEPLOY_FAILED|'] });
  assert.equal(code, 9);
  assert.match(stdout, /application DEPLOY_FAILED/);
  assert.match(stderr, /not ready after 0 s[\s\S]*describe rayservice whisper-streaming/);
});

test('--dry-run has the API server check, and changes nothing', async () => {
  const { calls, code, stdout } = await runDeploy(['--dry-run'], {}, { HUGGING_FACE_HUB_TOKEN: base64(TOKEN) });
  assert.equal(code, 0);
  const applies = calls.filter((call) => call.arguments.includes('apply'));
  assert.equal(applies.length, 2);
  for (const call of applies) assert.ok(call.arguments.includes('--dry-run=server'));
  assert.ok(!stdout.includes(base64(TOKEN)));
  assert.match(stdout, /would be set[\s\S]*nothing was changed/);
});

test('--dry-run without an API server prints the manifests, and no Secret', async () => {
  for (const cluster of [{ answers: false }, { contexts: [] }]) {
    const { applied, code, stderr, stdout } = await runDeploy(['--dry-run', '--overlay', 'eks'], cluster, {
      HUGGING_FACE_HUB_TOKEN: base64(TOKEN),
    });
    assert.equal(code, 0);
    assert.deepEqual(applied, []);
    const objects = parseObjects(stdout);
    assert.ok(objects.some(({ kind }) => kind === 'Ingress'));
    assert.ok(!objects.some(({ kind }) => kind === 'Secret'));
    assert.match(stderr, /no API server: rendered only/);
  }
});

test('--delete takes away what was applied, policies after the last pod, but neither namespace nor Secret', async () => {
  const { applied, calls, code, stdout } = await runDeploy(['--delete', '--overlay', 'eks']);
  assert.equal(code, 0);
  assert.deepEqual(applied, []);
  const steps = calls.map((call) => call.arguments.slice(0, 2).join(' ')).filter((step) => /^(delete|wait)/.test(step));
  assert.deepEqual(steps, ['delete rayservice', 'wait pod', 'delete --ignore-not-found']);
  const deleted = parseObjects(calls.at(-1)?.input ?? '').map(({ kind }) => kind);
  assert.ok(deleted.includes('NetworkPolicy') && deleted.includes('Ingress'));
  assert.ok(!deleted.includes('Namespace') && !deleted.includes('Secret'));
  assert.match(stdout, /are still there/);
});

test('--delete leaves the policies where pods do not end', async () => {
  const { calls, code, stderr } = await runDeploy(['--delete'], { podsEnd: false });
  assert.equal(code, 9);
  assert.match(stderr, /run this again/);
  assert.ok(!calls.some((call) => call.arguments.includes('-f')));
});

test('--help names every option and exit code', async () => {
  const { calls, code, stdout } = await runDeploy(['--help']);
  assert.equal(code, 0);
  assert.deepEqual(calls, []);
  const options = [
    'overlay',
    'namespace',
    'create-namespace',
    'image',
    'gpu-image',
    'operator-namespace',
    'context',
    'timeout',
    'dry-run',
    'delete',
    'help',
  ];
  for (const option of options) assert.ok(stdout.includes(`--${option}`), option);
  assert.match(stdout, /HUGGING_FACE_HUB_TOKEN=\$\(echo -n 'token' \| base64\)/);
});

// serve.yaml on a machine: what gives way to the command line, and what stays.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommandError } from '../command-error.ts';
import { adaptServeConfig, parseServeConfig, streamTimes } from './serve-config.ts';

const YAML = `
proxy_location: EveryNode
http_options: { host: 0.0.0.0, port: 8000, request_timeout_s: null }
applications:
  - &whisper
    name: whisper
    route_prefix: /
    import_path: whisper_serve.application:build
    args: { model: base, cache: /models, server: { drain_seconds: 60 } }
    runtime_env: { env_vars: { MINE: '1' } }
    deployments:
      - name: TranscriptionServer
        autoscaling_config: { min_replicas: 1, max_replicas: 4, target_ongoing_requests: 100 }
        ray_actor_options: { num_cpus: 0.5 }
      - name: WhisperASR
        num_replicas: 2
        ray_actor_options: { num_cpus: 2, num_gpus: 0 }
`;
const SECOND = `
  - <<: *whisper
    name: small
    route_prefix: /small
    args: { server: { drain_seconds: 90, max_stream_seconds: 50000 } }
`;

const config = parseServeConfig(YAML, 'serve.yaml');
const deployments = (of: typeof config) => of.applications[0]?.deployments ?? [];

test('what the command line says goes before the file, and what it does not say stays', () => {
  const adapted = adaptServeConfig(config, {
    host: '127.0.0.1',
    args: { model: 'small' },
    machineArgs: { node: '/bin/node', cache: '/cache' },
    asrReplicas: { min: 1, max: 3 },
    engines: 1,
    gpusPerReplica: 0.5,
    environment: { MINE: '0', OURS: '2' },
  });
  assert.deepEqual(adapted.http_options, { host: '127.0.0.1', port: 8000, request_timeout_s: null });
  assert.equal(adapted.proxy_location, 'EveryNode');
  const [application] = adapted.applications;
  assert.deepEqual(application?.args, { node: '/bin/node', cache: '/models', model: 'small', engines: 1, server: { drain_seconds: 60 } });
  assert.deepEqual(application?.runtime_env, { env_vars: { MINE: '1', OURS: '2' } });
  const [server, asr] = deployments(adapted);
  assert.deepEqual(server, deployments(config)[0]);
  assert.deepEqual(asr, {
    name: 'WhisperASR',
    autoscaling_config: { min_replicas: 1, max_replicas: 3 },
    ray_actor_options: { num_cpus: 1, num_gpus: 0.5 },
  });
});

test('what the environment says holds where the file says nothing, below `server`, too', () => {
  const serverArgs = { drain_seconds: 5, max_files: 2 };
  const [application] = adaptServeConfig(config, { machineArgs: { max_queue: 9, model: 'tiny' }, serverArgs }).applications;
  assert.deepEqual(application?.args, { max_queue: 9, model: 'base', cache: '/models', server: { drain_seconds: 60, max_files: 2 } });
  const bare = parseServeConfig('applications: [{ name: x, import_path: a:b }]', 'bare.yaml');
  assert.deepEqual(adaptServeConfig(bare, { serverArgs }).applications[0]?.args, { server: serverArgs });
  assert.deepEqual(adaptServeConfig(bare, {}).applications[0]?.args, {});
});

test('a replica with other engines is scaled by as many windows for each as in the file', () => {
  const target = (args: string, engines: number): unknown => {
    const deployment = '{ name: WhisperASR, autoscaling_config: { target_ongoing_requests: 1.2 }, ray_actor_options: { num_cpus: 2 } }';
    const text = `applications: [{ name: x, import_path: a:b, args: ${args}, deployments: [${deployment}] }]`;
    return deployments(adaptServeConfig(parseServeConfig(text, 'mine.yaml'), { engines }))[0]?.autoscaling_config?.target_ongoing_requests;
  };
  assert.deepEqual(
    [1, 2, 3, 8].map((engines) => target('{}', engines)),
    [0.6, 1.2, 1.8, 4.8],
  );
  assert.equal(target('{ threads: 2 }', 1), 1.2);
  assert.equal(target('{ engines: 4 }', 1), 0.3);
  // one without autoscaling has no target to change
  assert.equal(deployments(adaptServeConfig(config, { engines: 1 }))[1]?.autoscaling_config, undefined);
});

test('a replica that is to compute on CUDA takes a GPU and is scaled for one, unless the file has it so or something else is said', () => {
  const asr = (text: string, adaptation: Parameters<typeof adaptServeConfig>[1]): unknown => {
    const [deployment] = deployments(adaptServeConfig(parseServeConfig(text, 'mine.yaml'), adaptation));
    const { autoscaling_config, ray_actor_options } = deployment ?? {};
    return [ray_actor_options?.num_gpus, ray_actor_options?.num_cpus, autoscaling_config?.target_ongoing_requests];
  };
  const file = (gpus: number, target: number): string =>
    `applications: [{ name: x, import_path: a:b, deployments: [{ name: WhisperASR, autoscaling_config: { target_ongoing_requests: ${target} },
      ray_actor_options: { num_cpus: 2, num_gpus: ${gpus} } }] }]`;
  const cuda = { args: { device: 'cuda' } };
  assert.deepEqual(asr(file(0, 1.2), cuda), [1, 2, 16]);
  assert.deepEqual(asr(file(0, 1.2), { ...cuda, gpusPerReplica: 0.5 }), [0.5, 2, 16]);
  assert.deepEqual(asr(file(0, 1.2), { ...cuda, engines: 3 }), [1, 3, 24]);
  assert.deepEqual(asr(file(0.5, 20), cuda), [0.5, 2, 20]);
  assert.deepEqual(asr(file(0.5, 20), { ...cuda, engines: 1 }), [0.5, 1, 10]);
  assert.deepEqual(asr(file(0, 1.2), { args: { device: 'auto' } }), [0, 2, 1.2]);
});

test('several applications share what the machine says, and have their models from the file', () => {
  const two = parseServeConfig(YAML + SECOND, 'serve.yaml');
  const adapted = adaptServeConfig(two, { port: 9000, machineArgs: { cache: '/cache' } });
  assert.deepEqual(
    adapted.applications.map(({ args, route_prefix }) => [route_prefix, args?.cache]),
    [
      ['/', '/models'],
      ['/small', '/cache'],
    ],
  );
  assert.throws(() => adaptServeConfig(two, { args: { model: 'base' } }), /applications whisper, small: model must be said there/);
  assert.deepEqual(streamTimes(two), { drainSeconds: 90, maxStreamSeconds: 50_000 });
  assert.deepEqual(streamTimes(config), { drainSeconds: 60, maxStreamSeconds: 43_200 });
});

test('a file that is none is refused with the place of the fault', () => {
  const refused = (text: string, expected: RegExp): void =>
    assert.throws(
      () => parseServeConfig(text, 'mine.yaml'),
      (error) => error instanceof CommandError && expected.test(error.message),
    );
  refused('{', /^mine\.yaml is not YAML: .*line 1/s);
  refused('applications: []', /^mine\.yaml is no configuration of Serve:\n.*applications/s);
  refused('applications: [{ name: x, import_path: a:b, deployments: [{ num_replicas: 1 }] }]', /applications\[0\]\.deployments\[0\]\.name/);
});

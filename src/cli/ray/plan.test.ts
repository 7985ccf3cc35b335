// What `ray start` would do: addresses, ports, CPUs and the configuration, from its options and the project's own serve.yaml.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { type PlanOptions, planRay } from './plan.ts';
import { ASR_DEPLOYMENT, parseServeConfig, SERVER_DEPLOYMENT, type ServeConfig } from './serve-config.ts';

const OPTIONS: PlanOptions = { cache: '/cache', host: '127.0.0.1', rayPort: 6379, dashboardPort: 8265, metricsPort: 8080 };

const deployment = ({ applications }: ServeConfig, wanted: string) => applications[0]?.deployments?.find(({ name }) => name === wanted);
const asr = (config: ServeConfig) => deployment(config, ASR_DEPLOYMENT);
const mostReplicas = (config: ServeConfig): unknown[] =>
  [SERVER_DEPLOYMENT, ASR_DEPLOYMENT].map((name) => deployment(config, name)?.autoscaling_config?.max_replicas);

test("the project's configuration runs on this machine as it is", async () => {
  const plan = await planRay(OPTIONS, {});
  assert.deepEqual(plan.applications, ['whisper']);
  assert.equal(plan.serviceUrl, 'http://127.0.0.1:8000');
  assert.equal(plan.dashboardUrl, 'http://127.0.0.1:8265');
  assert.equal(plan.metricsUrl, 'http://127.0.0.1:8080/metrics');
  assert.equal(plan.config.http_options?.host, '127.0.0.1');
  assert.ok(plan.cpus >= Math.max(3, availableParallelism()));
  assert.equal(plan.config.applications[0]?.args?.cache, '/cache');
});

test('replicas that are asked for by name find room, others as many as fit', async () => {
  const plan = await planRay({ ...OPTIONS, engines: 64, asrReplicas: { min: 1, max: 2 } }, {});
  assert.ok(plan.cpus >= 129);
  assert.equal(asr(plan.fittedConfig)?.autoscaling_config?.max_replicas, 2);
  assert.equal(asr(plan.fittedConfig)?.ray_actor_options?.num_cpus, 64);
  const small = await planRay({ ...OPTIONS, cpus: 3 }, {});
  assert.equal(asr(small.config)?.autoscaling_config?.max_replicas, 4);
  assert.equal(asr(small.fittedConfig)?.autoscaling_config?.max_replicas, 1);
  await assert.rejects(planRay({ ...OPTIONS, cpus: 2 }, {}), /ask for 3 logical CPUs at least; --cpus is 2/);
});

test('the most replicas of both deployments have room together', async () => {
  const most = async (options: Partial<PlanOptions>): Promise<unknown[]> =>
    mostReplicas((await planRay({ ...OPTIONS, ...options }, {})).fittedConfig);
  // a server takes one CPU, a recogniser two
  assert.deepEqual(await most({ cpus: 6 }), [2, 2]);
  assert.deepEqual(await most({ cpus: 7, asrReplicas: { min: 1, max: 3 } }), [1, 3]);
  assert.deepEqual(await most({ cpus: 7, serverReplicas: { min: 1, max: 4 } }), [4, 1]);
});

test('other engines are scaled by 0.6 windows each, as the file has it', async () => {
  const target = async (engines?: number): Promise<unknown> =>
    asr((await planRay({ ...OPTIONS, ...(engines !== undefined && { engines }) }, {})).config)?.autoscaling_config?.target_ongoing_requests;
  assert.deepEqual([await target(), await target(1), await target(4)], [1.2, 0.6, 2.4]);
});

test('a GPU is asked for with the device, and has to be there', async () => {
  const { config, fittedConfig } = await planRay({ ...OPTIONS, cpus: 64, device: 'cuda', precision: 'auto', gpus: 1 }, {});
  assert.deepEqual([config.applications[0]?.args?.device, config.applications[0]?.args?.precision], ['cuda', 'auto']);
  assert.equal(asr(config)?.ray_actor_options?.num_gpus, 1);
  assert.equal(asr(fittedConfig)?.autoscaling_config?.max_replicas, 1);
  const halves = await planRay({ ...OPTIONS, cpus: 64, device: 'cuda', gpusPerReplica: 0.5, gpus: 1 }, { WHISPER_DEVICE_MEMORY: '9000' });
  assert.equal(asr(halves.fittedConfig)?.autoscaling_config?.max_replicas, 2);
  assert.equal(halves.config.applications[0]?.args?.device_memory_mb, 9000);
  await assert.rejects(planRay({ ...OPTIONS, device: 'cuda', gpus: 0 }, {}), /ask for 1 logical GPUs at least; --gpus is 0/);
});

test('the target of a GPU is the one of the cluster', async () => {
  const gpu = new URL('../../../deploy/overlays/gpu/serve.yaml', import.meta.url);
  const local = await planRay({ ...OPTIONS, device: 'cuda' }, {});
  const target = asr(parseServeConfig(await readFile(gpu, 'utf8'), 'gpu'))?.autoscaling_config?.target_ongoing_requests;
  assert.equal(asr(local.config)?.autoscaling_config?.target_ongoing_requests, target);
});

test('limits and origins of this environment go with the application, keys do not', async () => {
  const inherited = {
    WHISPER_API_KEYS: 'secret',
    WHISPER_ALLOWED_ORIGINS: 'https://one.example, https://two.example',
    WHISPER_ADMIT_ALL: '1',
    WHISPER_MAX_FILES: '2',
    WHISPER_MAX_QUEUE: '9',
    WHISPER_MAX_STREAM_SECONDS: '90000',
    WHISPER_SHUTDOWN_SECONDS: '5',
  };
  const { config, environment } = await planRay(OPTIONS, inherited);
  const [application] = config.applications;
  assert.equal(application?.args?.max_queue, 9);
  assert.deepEqual(application?.args?.server, {
    allowed_origins: ['https://one.example', 'https://two.example'],
    admit_all: true,
    max_files: 2,
    max_stream_seconds: 90_000,
    drain_seconds: 60,
  });
  assert.equal(application?.runtime_env?.env_vars?.WHISPER_SHUTDOWN_SECONDS, '5');
  assert.doesNotMatch(JSON.stringify(config), /secret/);
  assert.ok(Number(environment.RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S) > 90_000, 'the longest stream outlives a reload');
  await assert.rejects(planRay(OPTIONS, { WHISPER_MAX_FILES: 'many' }), /WHISPER_MAX_FILES is "many": expected a whole number/);
});

test('every port is asked for at the address and under the name by which it can be changed', async () => {
  const { serviceUrl, wantedPorts } = await planRay({ ...OPTIONS, host: '0.0.0.0', port: 9000 }, { RAY_SERVE_HAPROXY_STATS_PORT: '8405' });
  assert.equal(serviceUrl, 'http://127.0.0.1:9000');
  assert.deepEqual(wantedPorts[0], { port: 9000, host: '0.0.0.0', purpose: 'the service', changedBy: '--port' });
  const ports = wantedPorts.map(({ port }) => port);
  assert.deepEqual(ports, [9000, 8265, 6379, 8080, 10_001, 52_365, 9101, 8405, 8500]);
  assert.equal(wantedPorts.find(({ port }) => port === 8405)?.changedBy, 'RAY_SERVE_HAPROXY_STATS_PORT');
});

test('a configuration that is not there is named', async () => {
  await assert.rejects(planRay({ ...OPTIONS, config: '/no/such.yaml' }, {}), /cannot be read: .*no\/such\.yaml/);
});

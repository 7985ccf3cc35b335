// deploy/serve.yaml is what Serve takes: checked by Serve's own schema, before and after it was adapted, and against the Python side.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { planRay } from '../src/cli/ray/plan.ts';
import { PYTHON_FOLDER, rayEnvironment } from '../src/cli/ray/ray-environment.ts';
import { ASR_DEPLOYMENT, parseServeConfig, SERVER_DEPLOYMENT, type ServeConfig, streamTimes } from '../src/cli/ray/serve-config.ts';
import { testPython } from './ray-environment.ts';

const path = fileURLToPath(new URL('../deploy/serve.yaml', import.meta.url));

/** Names what Serve would ignore, since it takes unknown keys in silence; builds each application, as its controller does. */
const CHECK = `
import json, sys, typing
from importlib import import_module
from ray.serve.schema import ServeDeploySchema
from ray.serve.config import AutoscalingConfig

config = json.load(sys.stdin)
schema = ServeDeploySchema.model_validate(config)
unknown = []

def compare(given, model, where):
    for key in given:
        if key not in type(model).model_fields:
            unknown.append(f"{where}.{key}")

compare(config, schema, "")
compare(config["http_options"], schema.http_options, "http_options")
names = []
for given, application in zip(config["applications"], schema.applications):
    compare(given, application, application.name)
    module, _, builder = application.import_path.partition(":")
    build = getattr(import_module(module), builder)
    (arguments,) = typing.get_type_hints(build).keys() - {"return"}
    app = build(typing.get_type_hints(build)[arguments].model_validate(given["args"]))
    names.append(app._bound_deployment.name)
    for one, deployment in zip(given["deployments"], application.deployments):
        compare(one, deployment, deployment.name)
        compare(one["ray_actor_options"], deployment.ray_actor_options, deployment.name)
        compare(one["autoscaling_config"], AutoscalingConfig(**one["autoscaling_config"]), deployment.name)
        names.append(deployment.name)
print(json.dumps({"unknown": unknown, "names": names}))
`;

let python: string;
let config: ServeConfig;

before(async () => {
  ({ python } = await testPython());
  config = parseServeConfig(await readFile(path, 'utf8'), path);
});

async function check(value: ServeConfig): Promise<{ readonly unknown: string[]; readonly names: string[] }> {
  const environment = { ...process.env, PYTHONPATH: PYTHON_FOLDER };
  const running = promisify(execFile)(python, ['-W', 'error::FutureWarning', '-c', CHECK], { env: environment });
  running.child.stdin?.end(JSON.stringify(value));
  return JSON.parse((await running).stdout);
}

test('Serve and the application builder take the file as it is, and know every key of it', async () => {
  assert.deepEqual(await check(config), { unknown: [], names: [SERVER_DEPLOYMENT, SERVER_DEPLOYMENT, ASR_DEPLOYMENT] });
});

test('Serve and the application builder take what `ray start` makes of it', async () => {
  const ports = { port: 8001, rayPort: 6379, dashboardPort: 8265, metricsPort: 8080 };
  const model = { model: 'tiny.en', precision: 'float32' as const, engines: 1 };
  const replicas = { gpus: 2, gpusPerReplica: 0.5, asrReplicas: { min: 1, max: 2 }, serverReplicas: { min: 2, max: 2 } };
  const { fittedConfig } = await planRay({ cache: '/cache', host: '127.0.0.1', cpus: 8, ...ports, ...model, ...replicas }, {});
  assert.deepEqual((await check(fittedConfig)).unknown, []);
});

test('a replica has the time to drain that its environment grants, and Serve waits for it', () => {
  const { drainSeconds, maxStreamSeconds } = streamTimes(config);
  const granted = Number(rayEnvironment({ inherited: {}, drainSeconds, maxStreamSeconds }).RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S);
  const server = config.applications[0]?.deployments?.find(({ name }) => name === SERVER_DEPLOYMENT);
  assert.ok(granted > drainSeconds + 3 * Number(server?.health_check_period_s));
  assert.ok(Number(server?.graceful_shutdown_timeout_s) > granted);
});

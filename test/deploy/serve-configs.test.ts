// Serve's configuration in the overlays is deploy/serve.yaml but for what a cluster needs, and Ray takes it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { PYTHON_FOLDER } from '../../src/cli/ray/ray-environment.ts';
import { parseServeConfig } from '../../src/cli/ray/serve-config.ts';
import { testPython } from '../ray-environment.ts';
import { DEPLOY_FOLDER, find, render } from './manifests.ts';

/** Each key that differs, with its value in the overlay. Anything else has to be the same, so that measurements and reasons hold there, too. */
const INTENDED: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'overlays/cpu': {
    'whisper.args.device': 'cpu',
    'whisper.args.cache': '/var/cache/whisper-streaming',
    'whisper.args.server.max_stream_seconds': 14_400,
    'TranscriptionServer.autoscaling_config.min_replicas': 2,
    'TranscriptionServer.autoscaling_config.max_replicas': 20,
    'TranscriptionServer.ray_actor_options.resources.transcription_server': 1,
    'WhisperASR.autoscaling_config.min_replicas': 2,
    'WhisperASR.autoscaling_config.max_replicas': 40,
    'WhisperASR.ray_actor_options.resources.whisper_asr': 1,
  },
  'overlays/gpu': {
    'whisper.args.device': 'cuda',
    'whisper.args.cache': '/var/cache/whisper-streaming',
    'whisper.args.server.max_stream_seconds': 14_400,
    'TranscriptionServer.autoscaling_config.min_replicas': 2,
    'TranscriptionServer.autoscaling_config.max_replicas': 20,
    'TranscriptionServer.ray_actor_options.resources.transcription_server': 1,
    'WhisperASR.autoscaling_config.max_replicas': 16,
    'WhisperASR.autoscaling_config.target_ongoing_requests': 16,
    'WhisperASR.ray_actor_options.num_gpus': 1,
    'WhisperASR.ray_actor_options.resources.whisper_asr': 1,
  },
};

const CHECK = `
import json, sys
from ray.serve.schema import ServeDeploySchema
from whisper_serve.arguments import ServiceArguments

for application in ServeDeploySchema.model_validate(json.load(sys.stdin)).applications:
    ServiceArguments.model_validate(application.args)
    print(json.dumps([deployment.name for deployment in application.deployments]))
`;

/** By path, with the names of applications and deployments in place of their positions. */
function flatten(value: unknown, path = ''): Map<string, unknown> {
  if (value === null || typeof value !== 'object') return new Map([[path, value]]);
  const below = (key: string): string => (path === '' ? key : `${path}.${key}`);
  const entries = Object.entries(value).map(([key, one]): Map<string, unknown> => {
    const isList = key === 'applications' || key === 'deployments';
    if (!isList) return flatten(one, below(key));
    return new Map((one as Array<{ name: string }>).flatMap((item) => [...flatten(item, item.name)]));
  });
  return new Map(entries.flatMap((map) => [...map]));
}

function differences(one: unknown, other: unknown): Record<string, unknown> {
  const [left, right] = [flatten(one), flatten(other)];
  const keys = new Set([...left.keys(), ...right.keys()]);
  return Object.fromEntries([...keys].filter((key) => left.get(key) !== right.get(key)).map((key) => [key, right.get(key)]));
}

const readConfig = async (path: string) => parseServeConfig(await readFile(join(DEPLOY_FOLDER, path), 'utf8'), path);

for (const [overlay, intended] of Object.entries(INTENDED)) {
  test(`${overlay} has deploy/serve.yaml's configuration but for what is meant`, async () => {
    assert.deepEqual(differences(await readConfig('serve.yaml'), await readConfig(`${overlay}/serve.yaml`)), intended);
  });

  test(`${overlay}: Ray and the application builder take the configuration that is in the RayService`, async () => {
    const { serveConfigV2 } = find(await render(overlay), 'RayService').spec;
    assert.equal(serveConfigV2, await readFile(join(DEPLOY_FOLDER, overlay, 'serve.yaml'), 'utf8'));
    const { python } = await testPython();
    const environment = { ...process.env, PYTHONPATH: PYTHON_FOLDER };
    const running = promisify(execFile)(python, ['-W', 'error::FutureWarning', '-c', CHECK], { env: environment });
    running.child.stdin?.end(JSON.stringify(parseServeConfig(serveConfigV2, overlay)));
    assert.deepEqual(JSON.parse((await running).stdout), ['TranscriptionServer', 'WhisperASR']);
  });
}

test('a change of one number, or one more key, is a difference', async () => {
  const config = await readConfig('serve.yaml');
  const text = JSON.stringify(config);
  const [more, other] = [text.replace('"max_ongoing_requests":2000', '"max_ongoing_requests":2000,"x":1'), text.replace('2000', '2001')];
  assert.deepEqual(differences(config, JSON.parse(more)), { 'TranscriptionServer.x': 1 });
  assert.deepEqual(differences(config, JSON.parse(other)), { 'TranscriptionServer.max_ongoing_requests': 2001 });
});

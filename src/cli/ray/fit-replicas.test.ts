// How many replicas find room: CPUs and GPUs, deployments that share what is left.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fitReplicas, leastRoom } from './fit-replicas.ts';
import { adaptServeConfig, parseServeConfig } from './serve-config.ts';

const YAML = `
applications:
  - name: whisper
    import_path: whisper_serve.application:build
    deployments:
      - name: TranscriptionServer
        autoscaling_config: { min_replicas: 1, max_replicas: 4, target_ongoing_requests: 100 }
        ray_actor_options: { num_cpus: 0.5 }
      - name: WhisperASR
        num_replicas: 2
        ray_actor_options: { num_cpus: 2, num_gpus: 0 }
`;

const config = parseServeConfig(YAML, 'serve.yaml');
const deployments = (of: typeof config) => of.applications[0]?.deployments ?? [];

test('no more replicas are allowed than there is room for, and never fewer than the least', () => {
  assert.equal(leastRoom(config).cpus, 4.5);
  const most = (cpus: number): unknown[] =>
    deployments(fitReplicas(config, { cpus, gpus: 0 })).map((one) => one.autoscaling_config?.max_replicas);
  assert.deepEqual(most(4.5), [1, undefined]);
  assert.deepEqual(most(5.5), [3, undefined]);
  assert.deepEqual(most(64), [4, undefined]);
  assert.deepEqual(most(1), [1, undefined]);
});

test('deployments that scale share the room that is left, one replica each in turn, those asked for by name before the others', () => {
  const scaled = adaptServeConfig(config, { asrReplicas: { min: 1, max: 4 } });
  const most = (cpus: number, first?: string[]): unknown[] =>
    deployments(fitReplicas(scaled, { cpus, gpus: 0 }, first)).map((one) => one.autoscaling_config?.max_replicas);
  // 0.5 and 2 CPUs
  assert.deepEqual(most(2.5), [1, 1]);
  assert.deepEqual(most(4), [4, 1]);
  assert.deepEqual(most(5), [2, 2]);
  assert.deepEqual(most(7), [2, 3]);
  assert.deepEqual(most(64), [4, 4]);
  assert.deepEqual(most(4.5, ['TranscriptionServer']), [4, 1]);
  assert.deepEqual(most(4.5, ['WhisperASR']), [1, 2]);
  for (let cpus = 2.5; cpus <= 12; cpus += 0.5) {
    const [server, asr] = most(cpus) as [number, number];
    assert.ok(server * 0.5 + asr * 2 <= cpus, `${server} and ${asr} on ${cpus}`);
  }
});

test('no more replicas are allowed than GPUs have places for, and a share is not spread over two', () => {
  const most = (share: number, gpus: number): unknown[] => {
    const asked = adaptServeConfig(config, { args: { device: 'cuda' }, asrReplicas: { min: 1, max: 8 }, gpusPerReplica: share });
    return deployments(fitReplicas(asked, { cpus: 64, gpus })).map((one) => one.autoscaling_config?.max_replicas);
  };
  assert.deepEqual(most(1, 2), [4, 2]);
  assert.deepEqual(most(2, 5), [4, 2]);
  assert.deepEqual(most(0.5, 2), [4, 4]);
  assert.deepEqual(most(0.4, 2), [4, 4]);
  assert.deepEqual(most(0.6, 2), [4, 2]);
  assert.deepEqual(most(0.333_333, 2), [4, 6]);
  assert.deepEqual(most(1, Number.POSITIVE_INFINITY), [4, 8], 'nobody knows how many there are');
  const two = adaptServeConfig(config, { asrReplicas: { min: 3, max: 3 }, gpusPerReplica: 0.4 });
  assert.equal(leastRoom(two).gpus, 1.5);
});

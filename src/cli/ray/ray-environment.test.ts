// The environment of Ray's processes: what has to hold, what a user may change, and what must not get there.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PYTHON_FOLDER, rayEnvironment } from './ray-environment.ts';

const TIMES = { drainSeconds: 60, maxStreamSeconds: 3600 };

test('streams outlive the proxy that they came through, and a replica outlives their drain', () => {
  const environment = rayEnvironment({ inherited: {}, ...TIMES });
  assert.equal(environment.RAY_SERVE_ENABLE_HA_PROXY, '1');
  assert.equal(environment.RAY_SERVE_THROUGHPUT_OPTIMIZED, '1');
  assert.equal(environment.RAY_SERVE_LOG_TO_STDERR, '1');
  assert.ok(Number(environment.RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S) > TIMES.maxStreamSeconds);
  assert.ok(Number(environment.RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S) > TIMES.drainSeconds);
});

test('a user may change what is a preference, and not what the service rests on', () => {
  const inherited = { RAY_AUTH_MODE: 'token', RAY_USAGE_STATS_ENABLED: '1', RAY_SERVE_ENABLE_HA_PROXY: '0', HOME: '/home/me' };
  const environment = rayEnvironment({ inherited, ...TIMES });
  assert.equal(environment.RAY_AUTH_MODE, 'token');
  assert.equal(environment.RAY_USAGE_STATS_ENABLED, '1');
  assert.equal(environment.RAY_SERVE_ENABLE_HA_PROXY, '1');
  assert.equal(environment.HOME, '/home/me');
  assert.equal(rayEnvironment({ inherited: {}, ...TIMES }).RAY_AUTH_MODE, 'disabled');
});

test('the address of this process is not inherited, and the package is found before others', () => {
  const inherited = { WHISPER_HOST: '0.0.0.0', WHISPER_PORT: '1', RAY_ADDRESS: 'auto', PYTHONPATH: '/mine', WHISPER_API_KEYS: 'key' };
  const environment = rayEnvironment({ inherited, ...TIMES });
  for (const name of ['WHISPER_HOST', 'WHISPER_PORT', 'RAY_ADDRESS']) assert.ok(!(name in environment), name);
  assert.equal(environment.PYTHONPATH, `${PYTHON_FOLDER}:/mine`);
  assert.equal(environment.WHISPER_API_KEYS, 'key');
});

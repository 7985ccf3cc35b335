// The table of `ray status`, from what Serve and the metrics say.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatStatus, parseLoad, summarize } from './status-command.ts';

const METRICS = `
# TYPE ray_serve_replica_processing_queries gauge
ray_serve_replica_processing_queries{application="whisper",deployment="WhisperASR",replica="aaa"} 3.0
ray_serve_replica_processing_queries{replica="bbb",deployment="TranscriptionServer"} 12.0
ray_serve_replica_processing_queries{deployment="TranscriptionServer"} 99.0
ray_serve_replica_processing_queries_other{replica="ccc"} 1.0
`;
const NOW_MS = 1_000_000_000;

const replica = (id: string, state: string, upSeconds: number) => ({
  replica_id: id,
  state,
  pid: state === 'RUNNING' ? 4711 : null,
  start_time_s: NOW_MS / 1000 - upSeconds,
});

test('load is found by replica', () => {
  assert.deepEqual(
    [...parseLoad(METRICS)],
    [
      ['aaa', 3],
      ['bbb', 12],
    ],
  );
});

test('a line for every deployment and replica, and the messages of what is not well', () => {
  const deployment = { message: '', target_num_replicas: 1 };
  const details = {
    applications: {
      whisper: {
        status: 'RUNNING' as const,
        message: '',
        route_prefix: '/',
        deployments: {
          TranscriptionServer: { ...deployment, status: 'HEALTHY', replicas: [replica('bbb', 'RUNNING', 7500)] },
          WhisperASR: {
            status: 'UPSCALING',
            message: 'no GPU is free',
            target_num_replicas: 2,
            replicas: [replica('aaa', 'RUNNING', 90), replica('ddd', 'STARTING', 5)],
          },
        },
      },
    },
  };
  const applications = summarize(details, parseLoad(METRICS), NOW_MS);
  const ray = { version: '2.60.0', dashboardUrl: 'http://127.0.0.1:8265', ours: true };
  assert.equal(
    formatStatus({ running: true, ray, serviceUrl: 'http://127.0.0.1:8000', applications }),
    `Ray 2.60.0 at http://127.0.0.1:8265

whisper RUNNING at http://127.0.0.1:8000
DEPLOYMENT           REPLICA  STATE      LOAD  UP         PID
TranscriptionServer  1 of 1   HEALTHY
                     bbb      RUNNING    12    2 h 5 min  4711
WhisperASR           1 of 2   UPSCALING
                     aaa      RUNNING    3     1 min      4711
                     ddd      STARTING   -     5 s        -
WhisperASR: no GPU is free`,
  );
  assert.equal(formatStatus({ running: false, ray: null, serviceUrl: null, applications: [] }), 'Ray does not run.');
  assert.match(
    formatStatus({ running: false, ray: { ...ray, ours: false }, serviceUrl: null, applications: [] }),
    /not started from here.*\n.*no appl/,
  );
});

// The engine's metrics from observations; and docs/metrics.md names every metric of the service, no other.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { startTestServer } from '../../test/server-harness.ts';
import type { WindowObservation } from '../engine/local-transcriber.ts';
import type { TranscriberLoad } from '../engine/transcriber.ts';
import { createEngineMetrics } from './engine-metrics.ts';
import { createRemoteMetrics } from './remote-metrics.ts';

const DONE: WindowObservation = {
  priority: 'final',
  outcome: 'done',
  audioSeconds: 13,
  waitSeconds: 0.25,
  engineSeconds: 0.13,
  cost: { encodeMs: 80, decodeMs: 50, steps: 10, batchRows: 2, tokens: 30, draftTokens: 20, acceptedTokens: 15, attempts: 1 },
};
const LOAD: TranscriberLoad = {
  engines: 2,
  finalShare: 0.5,
  partialShare: 0.25,
  callers: 1,
  finalShareOfOthers: 0,
  fileShare: 0.125,
  finalSeconds: 0.13,
  partialSeconds: 0.1,
  oldestFinalSeconds: 0,
  finalDelaySeconds: 0.375,
  silentSeconds: 0,
};

test('a window that is done counts with all that it took, others by their outcome alone', async () => {
  const registry = new Registry();
  const metrics = createEngineMetrics(registry, () => LOAD);
  metrics.windowLeft(DONE);
  metrics.windowLeft({ ...DONE, audioSeconds: 13, engineSeconds: 0.39 });
  metrics.windowLeft({ ...DONE, priority: 'partial', outcome: 'refused', engineSeconds: 0, cost: null });
  metrics.queueChanged(7);
  const lines = (await registry.metrics()).split('\n');
  for (const line of [
    'whisper_engine_windows_total{priority="final",outcome="done"} 2',
    'whisper_engine_windows_total{priority="partial",outcome="refused"} 1',
    'whisper_engine_audio_seconds_total{priority="final"} 26',
    'whisper_engine_queue_wait_seconds_sum{priority="final"} 0.5',
    'whisper_engine_window_seconds_count{priority="final"} 2',
    'whisper_engine_batch_rows_sum 4',
    'whisper_engine_step_seconds_sum 0.01',
    'whisper_engine_tokens_total 60',
    'whisper_engine_draft_tokens_total 40',
    'whisper_engine_accepted_draft_tokens_total 30',
    'whisper_engine_queued_windows 7',
    'whisper_engine_real_time_factor 0.02',
    'whisper_engine_load_share{priority="final"} 0.5',
    'whisper_engine_load_share{priority="partial"} 0.25',
    'whisper_engine_load_share{priority="file"} 0.125',
    'whisper_engine_final_delay_seconds 0.375',
  ]) {
    assert.ok(lines.includes(line), line);
  }
  assert.ok(!lines.some((line) => line.startsWith('whisper_engine_queue_wait_seconds_sum{priority="partial"}')));
});

test('while there are no engines, their load is not told', async () => {
  const registry = new Registry();
  createEngineMetrics(registry, () => null);
  assert.doesNotMatch(await registry.metrics(), /whisper_engine_load_share\{/);
});

test('docs/metrics.md names every metric, and only those', async (context) => {
  const server = await startTestServer();
  context.after(() => server.close());
  createEngineMetrics(server.registry, () => null);
  createRemoteMetrics(server.registry, () => 1);
  const registered = (await server.registry.getMetricsAsJSON()).map(({ name }) => name).filter((name) => name.startsWith('whisper_'));
  const page = await readFile(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
  const documented = [...page.matchAll(/^\| `(whisper_\w+)`/gm)].map(([, name]) => name);
  assert.deepEqual(documented.sort(), registered.sort());
});

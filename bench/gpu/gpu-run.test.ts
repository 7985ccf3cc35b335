// bench/gpu.sh for real, on the processor: a small model through all stages within its budget, and what it refuses.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { resultOf, runGpuScript } from './gpu-script.ts';

const root = mkdtempSync(join(tmpdir(), 'gpu-run-'));
after(() => rmSync(root, { recursive: true }));

test('a run on the processor measures batches, streams and, where it is installed, transformers, and ends within its budget', async () => {
  // One number of streams, and time for slow machines: it is not used up.
  const args = [
    '--device',
    'cpu',
    '--models',
    'toy',
    '--batches',
    '1,2,4',
    '--budget-seconds',
    '100',
    '--rung-seconds',
    '8',
    '--max-streams',
    '2',
    '--from',
    'sources',
  ];
  const run = await runGpuScript(...args, '--out', root);
  assert.equal(run.code, 0, run.stderr);
  assert.ok(run.seconds < 102, `${run.seconds} s`);
  const result = resultOf(run);
  assert.match(String(result.environment.command), /^bench\/gpu\.sh --device cpu --models toy/);
  assert.ok(result.bandwidth.measuredGigabytesPerSecond! > 0.1 && result.bandwidth.measuredGigabytesPerSecond! < 1000);
  const [scaling] = result.scaling;
  assert.deepEqual([scaling?.model, scaling?.precision, scaling?.weights], ['toy', 'float32', 'random']);
  const points = scaling!.points;
  assert.ok(points.length > 0);
  assert.deepEqual(
    points.map(({ batch }) => batch),
    [1, 2, 4].slice(0, points.length),
  );
  for (const { batch, firstTokenMs, limitMs, runMs, runs, stepMs, steps, windowsPerSecond } of points) {
    assert.ok(runs >= 1 && runMs > 0 && firstTokenMs > 0 && Number.isFinite(runMs) && Number.isFinite(firstTokenMs));
    assert.equal(steps, 21);
    assert.ok(Math.abs(windowsPerSecond - (1000 * batch) / runMs) < 1e-6);
    assert.ok(stepMs === null || Math.abs(steps * stepMs - (runMs - firstTokenMs)) < 1e-6);
    assert.ok(limitMs! > 0 && limitMs! < 100);
  }
  const [replay] = result.replay;
  assert.ok(replay!.rungs.length > 0, JSON.stringify(result.stages));
  for (const rung of replay!.rungs) {
    assert.ok(rung.windows > 0 && rung.wordFinalSeconds.p95! >= rung.windowSeconds.p50!);
    assert.deepEqual([rung.refused, rung.failed], [0, 0]);
    // Texts are as long as the recorded ones, for random weights end them.
    if (rung.inTime) assert.ok(rung.meanTokens > 8 && rung.meanTokens < 18, `${rung.meanTokens}`);
  }
  assert.deepEqual(result.served, []);
  assert.ok(
    result.peer.points.length > 0 ||
      result.peer.reason !== null ||
      result.stages.some(({ name, problem }) => name === 'transformers' && problem),
  );
  assert.deepEqual(
    result.stages.map(({ name }) => name),
    ['memory bandwidth', 'toy float32, batches', 'toy float32, streams of recorded windows', 'transformers'],
  );
  assert.match(run.stdout, /toy, recorded windows: \d+ streams with p95 below 6 s/);
});

test('what is missing or wrong is said before anything is measured', async () => {
  for (const [args, message] of [
    [
      ['--device', 'cuda', '--from', 'sources'],
      /error: .*libonnxruntime_providers_cuda\.so is not there|only; --device webgpu|does not find/,
    ],
    [['--device', 'cpu', '--from', 'sources', '--models', 'huge'], /error: --models: huge is none of toy/],
    [['--device', 'cpu', '--from', 'sources', '--model-dir', '/no/such/folder'], /error: --model-dir \/no\/such\/folder: is not there/],
  ] as const) {
    const { code, stderr } = await runGpuScript(...args);
    assert.equal(code, 1);
    assert.match(stderr, message);
  }
  const help = await runGpuScript('--help');
  assert.equal(help.code, 0);
  assert.match(help.stdout, /--budget-seconds N/);
});

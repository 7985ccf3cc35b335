// bench/gpu.sh for real, on the processor, with published weights: the service is started and sent paced speech.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { testModelDir } from '../../test/models.ts';
import { resultOf, runGpuScript } from './gpu-script.ts';

const root = mkdtempSync(join(tmpdir(), 'gpu-served-'));
after(() => rmSync(root, { recursive: true }));

test('streams of paced speech get their words from the whole service', async () => {
  const modelDir = await testModelDir('base');
  const what = ['--device', 'cpu', '--models', 'base', '--measure', 'served', '--model-dir', modelDir, '--from', 'sources'];
  const run = await runGpuScript(...what, '--budget-seconds', '150', '--rung-seconds', '8', '--max-streams', '1', '--out', root);
  assert.equal(run.code, 0, run.stderr);
  const [served] = resultOf(run).served;
  assert.ok(served!.rungs.length > 0, run.stderr);
  const { lost, refused, streams, wordFinalSeconds } = served!.rungs[0]!;
  assert.deepEqual([streams, lost, refused], [1, 0, 0]);
  // A word is final at the end of its chunk, and hardly sooner.
  assert.ok(wordFinalSeconds.count > 5 && wordFinalSeconds.p95! > 1, JSON.stringify(wordFinalSeconds));
});

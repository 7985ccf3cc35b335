// The benchmark's own arithmetic: options, choice of clips, quantiles, table, and the usage of a process.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { processUsage } from '../test/server-process.ts';
import { benchClips } from './corpus.ts';
import { parseBenchOptions } from './options.ts';
import { formatTable } from './report.ts';
import { quantile } from './score.ts';

test('options name what is wrong with them', () => {
  assert.throws(() => parseBenchOptions(['--sets', 'short,loud']), /loud is none of short, long/);
  assert.throws(() => parseBenchOptions(['--threads', 'two']), /got two/);
  assert.ok('help' in parseBenchOptions(['--help']));
  const parsed = parseBenchOptions(['--corpus', 'a', '--corpus', 'b', '--sets', 'short,lang', '--quick']);
  assert.ok('options' in parsed);
  assert.deepEqual(parsed.options.corpora, ['a', 'b']);
  assert.deepEqual(parsed.options.sets, ['short', 'lang']);
});

test('a run takes the sets asked for, leaves out very long clips, and takes the shortest when quick', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'bench-'));
  context.after(() => rm(folder, { recursive: true }));
  const line = (file: string, kind: string, seconds: number | null) => JSON.stringify({ file, kind, seconds, language: 'en', text: 'a' });
  const lines = [line('1', 'short', 50), line('2', 'short', 20), line('3', 'short', 30), line('4', 'long', 301), line('5', 'bad', null)];
  await writeFile(join(folder, 'manifest.jsonl'), `${lines.join('\n')}\n`);
  const options = { corpora: [folder], sets: ['short', 'long'] as const };
  const all = await benchClips({ ...options, quick: false });
  assert.deepEqual(
    all.map(({ name }) => name),
    ['1', '2', '3'],
  );
  const quick = await benchClips({ ...options, quick: true });
  assert.deepEqual(
    quick.map(({ name }) => name),
    ['2', '3'],
  );
});

test('a quantile is a value that occurred', () => {
  assert.equal(quantile([4, 1, 3, 2], 0.5), 2);
  assert.equal(quantile([4, 1, 3, 2], 0.95), 4);
  assert.equal(quantile([7], 0.5), 7);
});

test('the table shows the ratio to the reference and what failed', () => {
  const table = formatTable([
    { name: 'WER', unit: '%', ours: 5, reference: 4, target: 'at most 4.30', pass: false },
    { name: 'lag', unit: 's', ours: 0.25, reference: null, target: '', pass: null },
  ]);
  const [, wer, lag] = table.split('\n').map((text) => text.split(/ {2,}/));
  assert.deepEqual(wer, ['WER', '%', '5.00', '4.00', '1.25', 'at most 4.30', 'FAIL']);
  assert.deepEqual(lag, ['lag', 's', '0.25']);
});

// It reads /proc
if (process.platform === 'linux') {
  test('the usage of a process counts its work and its memory', () => {
    const used = process.cpuUsage();
    const before = processUsage(process.pid);
    // Work is counted, not time: a busy machine may give this process little of it
    while (process.cpuUsage(used).user < 100_000);
    const after = processUsage(process.pid);
    assert.ok(after.cpuSeconds - before.cpuSeconds >= 0.02, `${after.cpuSeconds - before.cpuSeconds} s`);
    assert.ok(Math.abs(after.residentBytes - process.memoryUsage().rss) < 50 * 2 ** 20);
  });
}

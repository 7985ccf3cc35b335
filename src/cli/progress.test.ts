// Progress shows a bar to a person, lines to a log, and nothing when quiet.

import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { createProgress, type ProgressDisplay } from './progress.ts';

function display(options: { isTTY?: boolean; quiet?: boolean }): { progress: ProgressDisplay; written: () => string } {
  const stream = Object.assign(new PassThrough(), { isTTY: options.isTTY ?? false, columns: 120 });
  return { progress: createProgress({ stream, quiet: options.quiet ?? false }), written: () => String(stream.read() ?? '') };
}

test('without a terminal: a line at every tenth, none for small files', () => {
  const { progress, written } = display({});
  progress.download({ file: 'config.json', receivedBytes: 2000, totalBytes: 2000 });
  for (let received = 0; received <= 10_000_000; received += 100_000)
    progress.download({ file: 'model.bin', receivedBytes: received, totalBytes: 10_000_000 });
  const lines = written().trimEnd().split('\n');
  assert.equal(lines.length, 11);
  assert.equal(lines[5], 'model.bin: 50 % (5.0 MB of 10.0 MB)');
});

test('audio is counted in minutes and seconds', () => {
  const { progress, written } = display({});
  progress.audio('talk.mp3', 65.5, 131);
  progress.audio('stream', 10, undefined);
  assert.equal(written(), 'talk.mp3: 50 % (1:05 of 2:11)\n');
});

test('on a terminal: a bar for each file, and messages on lines of their own', () => {
  const { progress, written } = display({ isTTY: true });
  progress.download({ file: 'model.bin', receivedBytes: 5_000_000, totalBytes: 10_000_000 });
  progress.message('going on to PyPI');
  progress.download({ file: 'other.whl', receivedBytes: 10_000_000, totalBytes: 10_000_000 });
  progress.stop();
  progress.stop();
  progress.audio('stream', 65, undefined);
  progress.stop();
  const text = written();
  assert.match(text, /model\.bin \[.*\] 50% 5\.0 MB of 10\.0 MB/);
  assert.match(text, /\ngoing on to PyPI\n/);
  assert.match(text, /other\.whl \[.*\] 100%/);
  assert.match(text, /stream 1:05/, 'of unknown length: no bar');
});

test('quiet: nothing at all', () => {
  const { progress, written } = display({ quiet: true });
  progress.message('hello');
  progress.download({ file: 'model.bin', receivedBytes: 0, totalBytes: 10_000_000 });
  progress.step('one');
  progress.audio('a', 1, 2);
  progress.stop();
  assert.equal(written(), '');
});

test('steps: each takes the place of the one before on a terminal, and a log gets some of them', () => {
  const terminal = display({ isTTY: true });
  terminal.progress.step('Collecting one');
  terminal.progress.step('Collecting two');
  terminal.progress.message('done');
  assert.match(terminal.written(), /Collecting one.*Collecting two.*done\n$/s);
  const log = display({});
  log.progress.step('one');
  log.progress.step('two');
  log.progress.stop();
  log.progress.step('three');
  assert.equal(log.written(), 'one\nthree\n');
});

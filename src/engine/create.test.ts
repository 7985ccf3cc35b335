// Making a Transcriber of a model folder: its graphs are built once for all engines, and all of them are warm.

import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { testModelDir } from '../../test/models.ts';
import { createTranscriber } from './create.ts';

const graphsDir = await mkdtemp(join(tmpdir(), 'create-'));
after(() => rm(graphsDir, { recursive: true }));

test('the first engine builds the graphs, the others wait for it; then there is nothing to build', async () => {
  const options = { modelDir: await testModelDir('tiny.en'), modelName: 'tiny.en', graphsDir, engines: 2 };
  for (const expected of [[/^Building the int8 graphs of tiny\.en/], []]) {
    const messages: string[] = [];
    const transcriber = await createTranscriber({ ...options, onMessage: (message) => messages.push(message) });
    assert.equal(messages.length, expected.length);
    expected.forEach((pattern, index) => {
      assert.match(messages[index] as string, pattern);
    });
    const { engines, finalSeconds, partialSeconds } = transcriber.load();
    assert.equal(engines, 2);
    assert.ok(finalSeconds > 0 && partialSeconds === finalSeconds / 2, 'as the warm-up took');
    await transcriber.close();
  }
  assert.equal((await readdir(graphsDir)).length, 1);
});

test('a model without weights is refused with the reason', async () => {
  const modelDir = await mkdtemp(join(tmpdir(), 'create-'));
  await copyFile(join(await testModelDir('tiny.en'), 'config.json'), join(modelDir, 'config.json'));
  await assert.rejects(createTranscriber({ modelDir, graphsDir, engines: 2 }), { code: 'model_not_found' });
  await rm(modelDir, { recursive: true });
});

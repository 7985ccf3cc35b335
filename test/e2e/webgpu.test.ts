// The engine on WebGPU, through a Vulkan driver in software: the same tokens as on the processor, and a clear word where there is no driver.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { DecodedText } from '../../src/engine/decode.ts';
import type { ProbeReport } from '../../src/engine/device-probe-worker.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { cosine } from '../engine.ts';
import { testModelDir } from '../models.ts';
import { noVulkan, softwareVulkan } from '../swiftshader.ts';
import { toyConfig, writeToyModel } from '../toy-model.ts';

const execute = promisify(execFile);
const script = fileURLToPath(new URL('../webgpu-process.ts', import.meta.url));
const cli = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'webgpu-'));
after(() => rmSync(root, { recursive: true }));

/** tiny.en's tokens, hardly any layers, and a last norm that leans towards the end of text: a text is one token long. */
async function smallModel(): Promise<string> {
  const dir = join(root, 'small.en');
  const tokens = await testModelDir('tiny.en');
  const { special } = await loadTokenizer(tokens, { multilingual: false });
  const width = 64;
  let ending = new Float32Array(0);
  const config = toyConfig({
    width,
    encoderLayers: 1,
    decoderLayers: 1,
    vocabularySize: 51_864,
    alignmentHeads: [[0, 0]],
    beginSuppressTokens: [special.endOfText],
  });
  writeToyModel(dir, config, {
    change(name, values) {
      if (name === 'decoder.embed_tokens.weight') ending = values.slice(special.endOfText * width, (special.endOfText + 1) * width);
      if (name === 'decoder.layer_norm.bias') for (let i = 0; i < width; i++) values[i] = 20 * (ending[i] as number);
    },
  });
  copyFileSync(join(tokens, 'tokenizer.json'), join(dir, 'tokenizer.json'));
  return dir;
}

interface Found {
  readonly probe: ProbeReport;
  readonly choice: unknown;
  readonly messages: readonly string[];
  readonly decoded: Readonly<Record<'cpu' | 'webgpu', readonly DecodedText[]>>;
  readonly heard: Readonly<Record<'cpu' | 'webgpu', readonly { readonly text: string; readonly tokens: readonly number[] }[]>>;
}

test('on a software driver WebGPU decodes what the processor decodes, greedy and with beams, and the engine runs on it', async () => {
  const args = ['--import', 'tsx', script, root, await smallModel()];
  const { stdout } = await execute(process.execPath, args, { env: { ...process.env, ...(await softwareVulkan()) }, maxBuffer: 1e8 });
  const { choice, decoded, heard, messages, probe } = JSON.parse(stdout) as Found;

  assert.equal(probe.problem, null);
  assert.deepEqual(choice, { device: 'webgpu', precision: probe.gigaflops.float16 === null ? 'float32' : 'float16' });
  assert.match(messages.at(-1) as string, /slower than the processor/);

  assert.equal(decoded.cpu.length, 4);
  for (const [i, { alignment, logProbabilities, noSpeechProbability, tokens }] of decoded.cpu.entries()) {
    const text = decoded.webgpu[i] as DecodedText;
    assert.equal(tokens.length, 4);
    assert.deepEqual(text.tokens, tokens, `text ${i}`);
    for (const [t, value] of logProbabilities.entries())
      assert.ok(
        Math.abs((text.logProbabilities[t] as number) - value) < 1e-3,
        `text ${i}, token ${t}: ${text.logProbabilities[t]}, ${value}`,
      );
    assert.ok(Math.abs(text.noSpeechProbability - noSpeechProbability) < 1e-4);
    assert.ok(cosine(text.alignment, alignment) > 0.99999, `text ${i}: ${cosine(text.alignment, alignment)}`);
  }
  assert.equal(heard.cpu.length, 1);
  assert.deepEqual(heard.webgpu, heard.cpu);
});

test('without a driver --device webgpu is an error that says so', async () => {
  const args = ['--import', 'tsx', cli, 'asr', '--device', 'webgpu', '--model', 'tiny.en', '--port', '0'];
  await assert.rejects(
    execute(process.execPath, args, { env: { ...process.env, ...noVulkan } }),
    (error: Error & { stderr: string; code: number }) => {
      assert.equal(error.code, 1);
      assert.match(
        error.stderr,
        /error: --device webgpu: there is no graphics adapter, or no Vulkan driver for it; it needs the graphics driver's Vulkan/,
      );
      return true;
    },
  );
});

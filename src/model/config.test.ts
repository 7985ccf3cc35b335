// Model configuration is the same from either format, and falls back where the files say nothing or nonsense.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bits16, ctranslate2File, f32, safetensorsFile, type TensorData } from '../../test/weight-files.ts';
import { readModelConfig } from './config.ts';

const root = mkdtempSync(join(tmpdir(), 'config-'));
after(() => rmSync(root, { recursive: true }));

function zeros(...shape: number[]): TensorData {
  return f32(shape, new Array(shape.reduce((product, size) => product * size, 1)).fill(0));
}

/** Two encoder layers, four decoder layers, width 128. */
function writeSafetensors(dir: string, config: object, generation?: object): string {
  const path = join(root, dir);
  mkdirSync(path);
  const layers = ['encoder.layers.0', 'encoder.layers.1', 'decoder.layers.0', 'decoder.layers.1', 'decoder.layers.2', 'decoder.layers.3'];
  const tensors = {
    'model.encoder.conv1.weight': zeros(128, 80, 3),
    'model.encoder.embed_positions.weight': zeros(1500, 1),
    'model.decoder.embed_positions.weight': zeros(448, 1),
    'model.decoder.embed_tokens.weight': zeros(51_865, 1),
    ...Object.fromEntries(layers.map((layer) => [`model.${layer}.fc1.weight`, zeros(1, 1)])),
  };
  writeFileSync(join(path, 'model.safetensors'), safetensorsFile(tensors));
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  if (generation) writeFileSync(join(path, 'generation_config.json'), JSON.stringify(generation));
  return path;
}

const HEADS_OF_LAST_HALF = [
  [2, 0],
  [2, 1],
  [3, 0],
  [3, 1],
];

test('Hugging Face: sizes from the tensors, rules from generation_config.json', async () => {
  const dir = writeSafetensors(
    'whisper-base',
    { encoder_attention_heads: 2, suppress_tokens: [9] },
    { alignment_heads: [[1, 1]], suppress_tokens: [1, 2, -1], begin_suppress_tokens: [220, 50_257], is_multilingual: true },
  );
  assert.deepEqual(await readModelConfig(dir), {
    name: 'base',
    melBins: 80,
    encoderLayers: 2,
    decoderLayers: 4,
    heads: 2,
    width: 128,
    vocabularySize: 51_865,
    maxAudioPositions: 1500,
    maxTextPositions: 448,
    alignmentHeads: [[1, 1]],
    suppressTokens: [1, 2],
    beginSuppressTokens: [220, 50_257],
    multilingual: true,
  });
});

test('without alignment heads: all heads of the last half of the decoder, two of 64 for width 128', async () => {
  const config = await readModelConfig(writeSafetensors('bare', {}));
  assert.equal(config.heads, 2);
  assert.deepEqual(config.alignmentHeads, HEADS_OF_LAST_HALF);
  assert.deepEqual(config.suppressTokens, []);
});

test('alignment heads of layers that a distilled model lacks are not used', async () => {
  const config = await readModelConfig(
    writeSafetensors(
      'distil',
      {},
      {
        alignment_heads: [
          [7, 0],
          [1, 1],
        ],
      },
    ),
  );
  assert.deepEqual(config.alignmentHeads, HEADS_OF_LAST_HALF);
});

test('CTranslate2: rules from config.json, an .en vocabulary is not multilingual', async () => {
  const dir = join(root, 'tiny.en');
  mkdirSync(dir);
  const tensors = {
    'encoder/num_heads': bits16('I16', [], [1]),
    'encoder/conv1/weight': zeros(64, 128, 3),
    'encoder/position_encodings/encodings': zeros(1500, 1),
    'decoder/position_encodings/encodings': zeros(448, 1),
    'decoder/embeddings/weight': zeros(51_864, 1),
    'encoder/layer_0/ffn/linear_0/weight': zeros(1, 1),
    'decoder/layer_0/ffn/linear_0/weight': zeros(1, 1),
  };
  writeFileSync(join(dir, 'model.bin'), ctranslate2File(tensors));
  writeFileSync(
    join(dir, 'config.json'),
    JSON.stringify({ alignment_heads: [[0, 0]], suppress_ids: [1], suppress_ids_begin: [220], lang_ids: [50_259] }),
  );
  const config = await readModelConfig(dir);
  assert.equal(config.name, 'tiny.en');
  assert.equal(config.melBins, 128);
  assert.equal(config.heads, 1);
  assert.deepEqual(config.alignmentHeads, [[0, 0]]);
  assert.deepEqual([config.suppressTokens, config.beginSuppressTokens], [[1], [220]]);
  assert.equal(config.multilingual, false);
});

test('a broken configuration is model_corrupt, a missing one model_not_found', async () => {
  const dir = writeSafetensors('broken', {});
  writeFileSync(join(dir, 'config.json'), '{');
  await assert.rejects(readModelConfig(dir), { code: 'model_corrupt' });
  rmSync(join(dir, 'config.json'));
  await assert.rejects(readModelConfig(dir), { code: 'model_not_found' });
  const odd = writeSafetensors('odd', { encoder_attention_heads: 3 });
  await assert.rejects(readModelConfig(odd), { code: 'model_corrupt' });
});

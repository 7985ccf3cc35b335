// Both weight formats give the same numbers, and broken files are refused with what is wrong in them.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as files from '../../test/weight-files.ts';
import { WhisperError } from '../core/errors.ts';
import { openWeights } from './weights.ts';

const root = mkdtempSync(join(tmpdir(), 'weights-'));
after(() => rmSync(root, { recursive: true }));
let folderCount = 0;

function folder(contents: Readonly<Record<string, Uint8Array | string>>): string {
  const dir = join(root, String(folderCount++));
  mkdirSync(dir);
  for (const [name, data] of Object.entries(contents)) writeFileSync(join(dir, name), data);
  return dir;
}

/** Numbers that both files of a pair are made of: width 2, so that rows are easy to follow. */
const ramp = (count: number, first: number): number[] => Array.from({ length: count }, (_, index) => first + index);

test('both formats give the same tensors for the same numbers', async () => {
  const [q, k, v] = [ramp(4, 0), ramp(4, 10), ramp(4, 20)];
  const stored = {
    'encoder/conv1/weight': files.f32([2, 1, 3], ramp(6, 0)),
    'encoder/layer_norm/gamma': files.f32([2], [1, 2]),
    'encoder/num_heads': files.bits16('I16', [], [1]),
    'encoder/position_encodings/encodings': files.f32([3, 2], ramp(6, 7)),
    'decoder/embeddings/weight': files.f32([5, 2], ramp(10, 1)),
    'decoder/layer_0/self_attention/linear_0/weight': files.f32([6, 2], [...q, ...k, ...v]),
    'decoder/layer_0/self_attention/linear_0/bias': files.f32([6], [1, 2, 0, 0, 3, 4]),
    'decoder/layer_0/self_attention/layer_norm/beta': files.f32([2], [5, 6]),
    'decoder/layer_0/attention/linear_0/weight': files.f32([2, 2], q),
    'decoder/layer_0/attention/linear_1/weight': files.f32([4, 2], [...k, ...v]),
    'decoder/layer_0/attention/linear_1/bias': files.f32([4], [0, 0, 8, 9]),
    'decoder/layer_0/attention/linear_2/weight': files.f32([2, 2], v),
    'decoder/layer_0/attention/layer_norm/gamma': files.f32([2], [3, 3]),
    'decoder/layer_0/ffn/linear_0/weight': files.f32([3, 2], ramp(6, 30)),
    'decoder/layer_0/ffn/linear_1/bias': files.f32([2], [1, 1]),
    'decoder/layer_0/ffn/layer_norm/gamma': files.f32([2], [4, 4]),
  };
  const ctranslate2 = await openWeights(
    folder({ 'model.bin': files.ctranslate2File(stored, { 'decoder/projection/weight': 'decoder/embeddings/weight' }) }),
  );
  const tensors = {
    'encoder.conv1.weight': stored['encoder/conv1/weight'],
    'encoder.layer_norm.weight': files.f32([2], [1, 2]),
    'encoder.embed_positions.weight': stored['encoder/position_encodings/encodings'],
    'decoder.embed_tokens.weight': stored['decoder/embeddings/weight'],
    'decoder.layers.0.self_attn.q_proj.weight': files.f32([2, 2], q),
    'decoder.layers.0.self_attn.k_proj.weight': files.f32([2, 2], k),
    'decoder.layers.0.self_attn.v_proj.weight': files.f32([2, 2], v),
    'decoder.layers.0.self_attn.q_proj.bias': files.f32([2], [1, 2]),
    'decoder.layers.0.self_attn.v_proj.bias': files.f32([2], [3, 4]),
    'decoder.layers.0.self_attn_layer_norm.bias': files.f32([2], [5, 6]),
    'decoder.layers.0.encoder_attn.q_proj.weight': files.f32([2, 2], q),
    'decoder.layers.0.encoder_attn.k_proj.weight': files.f32([2, 2], k),
    'decoder.layers.0.encoder_attn.v_proj.weight': files.f32([2, 2], v),
    'decoder.layers.0.encoder_attn.v_proj.bias': files.f32([2], [8, 9]),
    'decoder.layers.0.encoder_attn.out_proj.weight': files.f32([2, 2], v),
    'decoder.layers.0.encoder_attn_layer_norm.weight': files.f32([2], [3, 3]),
    'decoder.layers.0.fc1.weight': stored['decoder/layer_0/ffn/linear_0/weight'],
    'decoder.layers.0.fc2.bias': files.f32([2], [1, 1]),
    'decoder.layers.0.final_layer_norm.weight': files.f32([2], [4, 4]),
  };
  const prefixed = Object.fromEntries(
    Object.entries({ ...tensors, 'proj_out.weight': stored['decoder/embeddings/weight'] }).map(([name, data]) => [
      name === 'proj_out.weight' ? name : `model.${name}`,
      data,
    ]),
  );
  const safetensors = await openWeights(folder({ 'model.safetensors': files.safetensorsFile(prefixed) }));

  assert.deepEqual(ctranslate2.names, Object.keys(tensors).sort());
  assert.deepEqual(safetensors.names, ctranslate2.names);
  for (const name of ctranslate2.names) {
    assert.deepEqual(ctranslate2.shape(name), safetensors.shape(name), name);
    assert.deepEqual(ctranslate2.read(name), safetensors.read(name), name);
  }
  assert.equal(ctranslate2.heads, 1);
  assert.equal(safetensors.heads, undefined);
  ctranslate2.close();
  ctranslate2.close();
  safetensors.close();
  assert.throws(() => safetensors.read('encoder.conv1.weight'), /closed/);
});

test('float16, bfloat16 and scaled integers become the float32 numbers that they stand for', async () => {
  const half = files.bits16('F16', [6], [0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x7c00]);
  const brain = files.bits16('BF16', [3], [0x3f80, 0xc040, 0x0000]);
  const safetensors = await openWeights(folder({ 'model.safetensors': files.safetensorsFile({ half, brain }) }));
  assert.deepEqual([...safetensors.read('half')], [1, -2, 2 ** -24, 65_504, -0, Number.POSITIVE_INFINITY]);
  assert.deepEqual([...safetensors.read('brain')], [1, -3, 0]);

  const ctranslate2 = await openWeights(
    folder({
      'model.bin': files.ctranslate2File({
        'decoder/layer_0/attention/linear_1/weight': files.i8([4, 2], [127, -127, 10, 20, 1, 2, 3, 4]),
        'decoder/layer_0/attention/linear_1/weight_scale': files.f32([4], [127, 10, 1, 2]),
        'encoder/layer_0/ffn/linear_0/weight': files.bits16('I16', [1, 2], [100, 65_436]),
        'encoder/layer_0/ffn/linear_0/weight_scale': files.f32([], [100]),
      }),
    }),
  );
  assert.deepEqual([...ctranslate2.read('decoder.layers.0.encoder_attn.k_proj.weight')], [1, -1, 1, 2]);
  assert.deepEqual([...ctranslate2.read('decoder.layers.0.encoder_attn.v_proj.weight')], [1, 2, 1.5, 2]);
  assert.deepEqual([...ctranslate2.read('encoder.layers.0.fc1.weight')], [1, -1]);
});

test('tensors longer than one slice are read whole', async () => {
  const count = (1 << 20) + 3;
  const bits = new Uint16Array(count).fill(0x3c00);
  bits[count - 1] = 0x4000;
  const data = { shape: [count], type: 'F16', bytes: new Uint8Array(bits.buffer) } as const;
  const values = (await openWeights(folder({ 'model.safetensors': files.safetensorsFile({ data }) }))).read('data');
  assert.equal(values.length, count);
  assert.equal(values[count - 2], 1);
  assert.equal(values[count - 1], 2);
});

test('a sharded checkpoint reads as one', async () => {
  const dir = folder({
    'model.safetensors.index.json': JSON.stringify({
      weight_map: { 'model.a': 'model-00001-of-00002.safetensors', 'model.b': 'model-00002-of-00002.safetensors' },
    }),
    'model-00001-of-00002.safetensors': files.safetensorsFile({ 'model.a': files.f32([1], [1]) }),
    'model-00002-of-00002.safetensors': files.safetensorsFile({ 'model.b': files.f32([1], [2]) }),
  });
  const weights = await openWeights(dir);
  assert.deepEqual([...weights.read('a'), ...weights.read('b')], [1, 2]);
});

test('a folder without weights is model_not_found', async () => {
  await assert.rejects(openWeights(folder({})), { code: 'model_not_found' });
});

const tensor = files.f32([2], [1, 2]);
const goodBin = files.ctranslate2File({ 'encoder/conv1/bias': tensor });
const goodSafetensors = files.safetensorsFile({ a: tensor });
const header = (entry: unknown): Buffer => files.safetensorsBytes({ a: entry }, tensor.bytes);

/** name of the flaw -> file contents, what the message must say. */
const HOSTILE: Readonly<Record<string, readonly [Uint8Array, RegExp]>> = {
  'bin: empty': [Buffer.alloc(0), /the version needs bytes 0 to 4, the file has 0/],
  'bin: other version': [files.ctranslate2Head(0, 3), /format version 3/],
  'bin: other spec': [files.ctranslate2Head(0, 6, 'TransformerSpec'), /"TransformerSpec"/],
  'bin: huge tensor count': [files.ctranslate2Head(0xffffffff), /claims 4294967295 tensors/],
  'bin: more tensors than there are': [
    Buffer.concat([files.ctranslate2Head(2), files.ctranslate2Tensor('x', tensor)]),
    /the name of tensor 1/,
  ],
  'bin: rank out of range': [Buffer.concat([files.ctranslate2Head(1), files.ctranslate2String('x'), Buffer.from([200])]), /x has rank 200/],
  'bin: unknown type': [Buffer.concat([files.ctranslate2Head(1), files.ctranslate2String('x'), Buffer.from([0, 77])]), /unknown type 77/],
  'bin: length against shape': [
    Buffer.concat([files.ctranslate2Head(1), files.ctranslate2Tensor('x', tensor, 12)]),
    /takes 12 bytes, expected 8/,
  ],
  'bin: huge shape': [
    Buffer.concat([files.ctranslate2Head(1), files.ctranslate2Tensor('x', { ...tensor, shape: [0xffffffff, 0xffffffff] })]),
    /takes 8 bytes, expected/,
  ],
  'bin: cut in the data': [goodBin.subarray(0, goodBin.length - 8), /encoder\/conv1\/bias ends at byte/],
  'bin: cut in the aliases': [goodBin.subarray(0, goodBin.length - 2), /the alias count/],
  'bin: string without zero': [Buffer.concat([files.u32(6), Buffer.from([1, 0, 65])]), /terminating zero/],
  'bin: alias to nothing': [files.ctranslate2File({}, { a: 'b' }), /alias a points to b/],
  'safetensors: empty': [Buffer.alloc(3), /the header length needs/],
  'safetensors: huge header': [files.safetensorsBytes({}, new Uint8Array(), 2n ** 63n), /the header claims 9223372036854775808/],
  'safetensors: header past the end': [files.safetensorsBytes({}, new Uint8Array(), 1000n), /the header claims 1000/],
  'safetensors: not JSON': [files.safetensorsBytes('{"a"', new Uint8Array()), /not valid JSON/],
  'safetensors: not an object': [files.safetensorsBytes('[1]', new Uint8Array()), /not a JSON object/],
  'safetensors: null entry': [header(null), /tensor a has type undefined/],
  'safetensors: unknown type': [header({ dtype: 'F8_E4M3', shape: [2], data_offsets: [0, 8] }), /type F8_E4M3/],
  'safetensors: bad shape': [header({ dtype: 'F32', shape: [-2], data_offsets: [0, 8] }), /no valid shape/],
  'safetensors: bad offsets': [header({ dtype: 'F32', shape: [2], data_offsets: [0] }), /no valid data_offsets/],
  'safetensors: length against shape': [header({ dtype: 'F32', shape: [3], data_offsets: [0, 8] }), /takes 8 bytes, expected 12/],
  'safetensors: data past the end': [header({ dtype: 'F32', shape: [2], data_offsets: [8, 16] }), /ends at byte/],
  'safetensors: truncated': [goodSafetensors.subarray(0, goodSafetensors.length - 1), /ends at byte/],
};

for (const [flaw, [contents, message]] of Object.entries(HOSTILE)) {
  test(`a file with this flaw is model_corrupt: ${flaw}`, async () => {
    const dir = folder({ [flaw.startsWith('bin') ? 'model.bin' : 'model.safetensors']: contents });
    await assert.rejects(
      openWeights(dir),
      (error: unknown) => error instanceof WhisperError && error.code === 'model_corrupt' && message.test(error.message),
    );
  });
}

test('a shard index that points out of the folder is refused', async () => {
  const dir = folder({ 'model.safetensors.index.json': JSON.stringify({ weight_map: { a: '../other.safetensors' } }) });
  await assert.rejects(openWeights(dir), { code: 'model_corrupt' });
});

test('tensors whose parts do not fit are refused when they are read', async () => {
  const odd = await openWeights(
    folder({ 'model.bin': files.ctranslate2File({ 'encoder/layer_0/self_attention/linear_0/weight': files.f32([4, 1], [1, 2, 3, 4]) }) }),
  );
  assert.throws(() => odd.read('encoder.layers.0.self_attn.q_proj.weight'), { code: 'model_corrupt' });
  const unscaled = await openWeights(
    folder({ 'model.bin': files.ctranslate2File({ 'encoder/layer_0/ffn/linear_0/weight': files.i8([1, 1], [1]) }) }),
  );
  assert.throws(() => unscaled.read('encoder.layers.0.fc1.weight'), { code: 'model_corrupt' });
});

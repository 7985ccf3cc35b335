// Reads Hugging Face safetensors, whole or sharded. Format: u64 header length, JSON header, data (github.com/huggingface/safetensors).

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WhisperError } from '../core/errors.ts';
import { type ByteFile, openByteFile } from './byte-file.ts';
import { BYTES_PER_VALUE, readValues, type StoredType, type StoredValues } from './tensor-values.ts';
import type { Weights } from './weights-types.ts';

/** The format's own limit on its header. */
const MAX_HEADER_BYTES = 100_000_000;

const TYPES: Readonly<Record<string, StoredType>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

interface Tensor extends StoredValues {
  readonly file: ByteFile;
  readonly shape: readonly number[];
}

/** `file` is `model.safetensors` or `model.safetensors.index.json` inside `dir`. */
export function openSafetensorsWeights(dir: string, file: string): Weights {
  const paths = file.endsWith('.json') ? shardPaths(join(dir, file), dir) : [join(dir, file)];
  const files: ByteFile[] = [];
  const tensors = new Map<string, Tensor>();
  const close = (): void => {
    for (const opened of files) opened.close();
  };
  try {
    for (const path of paths) {
      const opened = openByteFile(path);
      files.push(opened);
      readHeader(opened, tensors);
    }
  } catch (error) {
    close();
    throw error;
  }
  const find = (name: string): Tensor => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new WhisperError('model_corrupt', `${join(dir, file)}: has no tensor ${name}`);
    return tensor;
  };
  return {
    names: [...tensors.keys()].sort(),
    heads: undefined,
    has: (name) => tensors.has(name),
    shape: (name) => find(name).shape,
    read: (name) => {
      const tensor = find(name);
      return readValues(tensor.file, tensor, name);
    },
    close,
  };
}

function readHeader(file: ByteFile, tensors: Map<string, Tensor>): void {
  const corrupt = (problem: string): WhisperError => new WhisperError('model_corrupt', `${file.path}: ${problem}`);
  const lengthBytes = Buffer.alloc(8);
  file.readInto(lengthBytes, 0, 'the header length');
  const headerLength = lengthBytes.readBigUInt64LE();
  if (headerLength > MAX_HEADER_BYTES || Number(headerLength) + 8 > file.byteLength) {
    throw corrupt(`the header claims ${headerLength} bytes, the file has ${file.byteLength}`);
  }
  const headerBytes = Buffer.alloc(Number(headerLength));
  file.readInto(headerBytes, 8, 'the header');
  const header = parseObject(headerBytes.toString('utf8'), file.path);
  const dataStart = 8 + headerBytes.length;

  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
    const type = typeof dtype === 'string' ? TYPES[dtype] : undefined;
    if (type === undefined) throw corrupt(`tensor ${name} has type ${String(dtype)}, expected one of ${Object.keys(TYPES).join(', ')}`);
    if (!isCounts(shape)) throw corrupt(`tensor ${name} has no valid shape`);
    if (!isCounts(offsets) || offsets.length !== 2) throw corrupt(`tensor ${name} has no valid data_offsets`);
    const valueCount = shape.reduce((product, size) => product * size, 1);
    const [begin, end] = offsets;
    if (end - begin !== valueCount * BYTES_PER_VALUE[type]) {
      throw corrupt(
        `tensor ${name} of shape [${shape.join(', ')}] ${dtype} takes ${end - begin} bytes, expected ${valueCount * BYTES_PER_VALUE[type]}`,
      );
    }
    if (dataStart + end > file.byteLength) throw corrupt(`tensor ${name} ends at byte ${dataStart + end}, the file has ${file.byteLength}`);
    const shortName = name.startsWith('model.') ? name.slice('model.'.length) : name;
    // tied to decoder.embed_tokens.weight in every Whisper model
    if (shortName === 'proj_out.weight') continue;
    tensors.set(shortName, { file, shape, type, position: dataStart + begin, valueCount });
  }
}

function shardPaths(indexPath: string, dir: string): string[] {
  const index = parseObject(readFileSync(indexPath, 'utf8'), indexPath);
  const map = index.weight_map;
  if (typeof map !== 'object' || map === null) throw new WhisperError('model_corrupt', `${indexPath}: has no weight_map`);
  const names = new Set<string>();
  for (const name of Object.values(map)) {
    // a name with a separator could point out of the model's folder
    if (typeof name !== 'string' || !/^[\w.-]+\.safetensors$/.test(name)) {
      throw new WhisperError('model_corrupt', `${indexPath}: ${JSON.stringify(name)} is not a shard's file name`);
    }
    names.add(name);
  }
  return [...names].map((name) => join(dir, name));
}

function parseObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WhisperError('model_corrupt', `${path}: the header is not valid JSON`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new WhisperError('model_corrupt', `${path}: the header is not a JSON object`);
  return value as Record<string, unknown>;
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

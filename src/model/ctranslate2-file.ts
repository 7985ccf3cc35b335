// The container format of CTranslate2's model.bin: a table of named tensors, read without loading their data.
//
// Little endian: u32 version, string spec, u32 revision, u32 count; for each tensor a string name, u8 rank, u32 sizes[rank],
// u8 type, u32 byte length, data; then u32 alias count and pairs of strings (alias, name). A string is a u16 length, with
// its terminating zero counted, and its bytes. Source: ctranslate2/specs/model_spec.py `_serialize`.

import { WhisperError } from '../core/errors.ts';
import { type ByteFile, openByteFile } from './byte-file.ts';
import { BYTES_PER_VALUE, type StoredType, type StoredValues } from './tensor-values.ts';

const SUPPORTED_VERSIONS = [5, 6];
const SPEC = 'WhisperSpec';
/** Type codes of ctranslate2's DataType, in their order. */
const TYPES: readonly StoredType[] = ['float32', 'int8', 'int16', 'int32', 'float16', 'bfloat16'];
/** large-v3 has about 1300; more says that the file is not what it claims. */
const MAX_TENSORS = 100_000;
const MAX_RANK = 8;

export interface Ctranslate2Tensor extends StoredValues {
  readonly shape: readonly number[];
}

export interface Ctranslate2File {
  readonly file: ByteFile;
  readonly tensors: ReadonlyMap<string, Ctranslate2Tensor>;
}

/** Reads the table of contents; throws `model_corrupt` for whatever does not fit the format. */
export function openCtranslate2File(path: string): Ctranslate2File {
  const file = openByteFile(path);
  try {
    return { file, tensors: readTable(file) };
  } catch (error) {
    file.close();
    throw error;
  }
}

function readTable(file: ByteFile): Map<string, Ctranslate2Tensor> {
  const corrupt = (problem: string): WhisperError => new WhisperError('model_corrupt', `${file.path}: ${problem}`);
  const scratch = Buffer.alloc(65_535);
  let position = 0;
  const bytes = (count: number, what: string): Buffer => {
    const view = scratch.subarray(0, count);
    file.readInto(view, position, what);
    position += count;
    return view;
  };
  const u8 = (what: string): number => bytes(1, what)[0];
  const u32 = (what: string): number => bytes(4, what).readUInt32LE();
  const string = (what: string): string => {
    const length = bytes(2, what).readUInt16LE();
    if (length === 0) throw corrupt(`${what} has no terminating zero`);
    const text = bytes(length, what);
    if (text[length - 1] !== 0) throw corrupt(`${what} has no terminating zero`);
    return text.toString('utf8', 0, length - 1);
  };

  const version = u32('the version');
  if (!SUPPORTED_VERSIONS.includes(version)) throw corrupt(`format version ${version}, expected one of ${SUPPORTED_VERSIONS.join(', ')}`);
  const spec = string('the spec name');
  if (spec !== SPEC) throw corrupt(`holds a ${JSON.stringify(spec.slice(0, 40))}, expected a ${SPEC}`);
  u32('the revision');
  const count = u32('the tensor count');
  if (count > MAX_TENSORS) throw corrupt(`claims ${count} tensors, at most ${MAX_TENSORS} make sense`);

  const tensors = new Map<string, Ctranslate2Tensor>();
  for (let index = 0; index < count; index++) {
    const name = string(`the name of tensor ${index}`);
    const rank = u8(`the rank of ${name}`);
    if (rank > MAX_RANK) throw corrupt(`${name} has rank ${rank}, at most ${MAX_RANK} makes sense`);
    const shape = Array.from({ length: rank }, () => u32(`the shape of ${name}`));
    const typeCode = u8(`the type of ${name}`);
    const type = TYPES[typeCode];
    if (type === undefined) throw corrupt(`${name} has the unknown type ${typeCode}`);
    const byteLength = u32(`the length of ${name}`);
    const valueCount = shape.reduce((product, size) => product * size, 1);
    if (valueCount * BYTES_PER_VALUE[type] !== byteLength) {
      throw corrupt(
        `${name} of shape [${shape.join(', ')}] ${type} takes ${byteLength} bytes, expected ${valueCount * BYTES_PER_VALUE[type]}`,
      );
    }
    if (position + byteLength > file.byteLength)
      throw corrupt(`${name} ends at byte ${position + byteLength}, the file has ${file.byteLength}`);
    tensors.set(name, { shape, type, position, valueCount });
    position += byteLength;
  }

  const aliasCount = u32('the alias count');
  if (aliasCount > MAX_TENSORS) throw corrupt(`claims ${aliasCount} aliases, at most ${MAX_TENSORS} make sense`);
  for (let index = 0; index < aliasCount; index++) {
    const alias = string(`alias ${index}`);
    const name = string(`the target of alias ${alias}`);
    const tensor = tensors.get(name);
    if (tensor === undefined) throw corrupt(`alias ${alias} points to ${name}, which is not there`);
    tensors.set(alias, tensor);
  }
  return tensors;
}

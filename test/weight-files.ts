// Writes small weight files of both formats, right ones and wrong ones, for the tests of src/model.

export interface TensorData {
  readonly shape: readonly number[];
  readonly type: 'F32' | 'F16' | 'BF16' | 'I8' | 'I16';
  readonly bytes: Uint8Array;
}

const CTRANSLATE2_TYPES = { F32: 0, I8: 1, I16: 2, F16: 4, BF16: 5 } as const;

export function f32(shape: readonly number[], values: readonly number[]): TensorData {
  return { shape, type: 'F32', bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

/** `bits` are the raw 16-bit patterns. */
export function bits16(type: 'F16' | 'BF16' | 'I16', shape: readonly number[], bits: readonly number[]): TensorData {
  return { shape, type, bytes: new Uint8Array(Uint16Array.from(bits).buffer) };
}

export function i8(shape: readonly number[], values: readonly number[]): TensorData {
  return { shape, type: 'I8', bytes: new Uint8Array(Int8Array.from(values).buffer) };
}

export function safetensorsFile(tensors: Readonly<Record<string, TensorData>>): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let offset = 0;
  for (const [name, tensor] of Object.entries(tensors)) {
    header[name] = { dtype: tensor.type, shape: tensor.shape, data_offsets: [offset, offset + tensor.bytes.length] };
    offset += tensor.bytes.length;
  }
  return safetensorsBytes(header, Buffer.concat(Object.values(tensors).map((tensor) => tensor.bytes)));
}

export function safetensorsBytes(header: unknown, data: Uint8Array, claimedHeaderLength?: bigint): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimedHeaderLength ?? BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function ctranslate2String(text: string): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(text.length + 1);
  return Buffer.concat([bytes, Buffer.from(text), Buffer.from([0])]);
}

export function ctranslate2Head(tensorCount: number, version = 6, spec = 'WhisperSpec'): Buffer {
  return Buffer.concat([u32(version), ctranslate2String(spec), u32(3), u32(tensorCount)]);
}

export function ctranslate2Tensor(name: string, tensor: TensorData, claimedBytes = tensor.bytes.length): Buffer {
  const type = Buffer.from([CTRANSLATE2_TYPES[tensor.type]]);
  return Buffer.concat([
    ctranslate2String(name),
    Buffer.from([tensor.shape.length]),
    ...tensor.shape.map(u32),
    type,
    u32(claimedBytes),
    tensor.bytes,
  ]);
}

export function ctranslate2File(tensors: Readonly<Record<string, TensorData>>, aliases: Readonly<Record<string, string>> = {}): Buffer {
  const parts = [ctranslate2Head(Object.keys(tensors).length)];
  for (const [name, tensor] of Object.entries(tensors)) parts.push(ctranslate2Tensor(name, tensor));
  parts.push(u32(Object.keys(aliases).length));
  for (const [alias, name] of Object.entries(aliases)) parts.push(ctranslate2String(alias), ctranslate2String(name));
  return Buffer.concat(parts);
}

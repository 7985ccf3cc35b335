// Stored numbers of a weight file (float32, float16, bfloat16, int8, int16, int32) as float32, read in slices.

import type { ByteFile } from './byte-file.ts';

export type StoredType = 'float32' | 'float16' | 'bfloat16' | 'int8' | 'int16' | 'int32';

export const BYTES_PER_VALUE: Readonly<Record<StoredType, number>> = { float32: 4, float16: 2, bfloat16: 2, int8: 1, int16: 2, int32: 4 };

/** A run of values inside a file. */
export interface StoredValues {
  readonly type: StoredType;
  readonly position: number;
  readonly valueCount: number;
}

/** Values per slice: bounds the scratch memory to 4 MiB, whatever the tensor's size. */
const SLICE_VALUES = 1 << 20;

/** float32 of each of the 65536 float16 bit patterns (IEEE 754 binary16); a table is 5 times as fast as computing. */
const HALF_TO_FLOAT = buildHalfTable();

function buildHalfTable(): Float32Array {
  const table = new Float32Array(65_536);
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 31) table[bits] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else table[bits] = sign * (1024 + fraction) * 2 ** (exponent - 25);
  }
  return table;
}

/** float16 bit patterns of the nearest values, ties to even; what is beyond 65504 becomes infinite. */
export function toHalves(values: Float32Array): Uint16Array {
  const halves = new Uint16Array(values.length);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < halves.length; i++) {
    const sign = ((bits[i] as number) >>> 16) & 0x8000;
    const rest = (bits[i] as number) & 0x7fffffff;
    if (rest > 0x7f800000) halves[i] = sign | 0x7e00;
    else if (rest >= 0x477ff000) halves[i] = sign | 0x7c00;
    // Normal numbers: the exponent moves from a bias of 127 to 15, and 13 bits of the fraction are rounded away.
    else if (rest >= 0x38800000) halves[i] = sign | ((rest - 0x38000000 + 0xfff + ((rest >>> 13) & 1)) >>> 13);
    // Multiples of 2^-24, which is what a float32 of 0.5 has as its last bit: adding one rounds as wanted.
    else halves[i] = sign | subnormalHalf(values[i] as number);
  }
  return halves;
}

const SUM = new Float32Array(1);
const SUM_BITS = new Uint32Array(SUM.buffer);

function subnormalHalf(value: number): number {
  SUM[0] = Math.abs(value) + 0.5;
  return (SUM_BITS[0] as number) - 0x3f000000;
}

/** All values as float32. The caller has checked that the run lies inside the file; `what` names it in errors. */
export function readValues(file: ByteFile, values: StoredValues, what: string): Float32Array {
  const out = new Float32Array(values.valueCount);
  if (values.type === 'float32') {
    file.readInto(new Uint8Array(out.buffer), values.position, what);
    return out;
  }
  const width = BYTES_PER_VALUE[values.type];
  const scratch = new ArrayBuffer(Math.min(SLICE_VALUES, values.valueCount) * width);
  for (let first = 0; first < out.length; first += SLICE_VALUES) {
    const count = Math.min(SLICE_VALUES, out.length - first);
    file.readInto(new Uint8Array(scratch, 0, count * width), values.position + first * width, what);
    convert(values.type, scratch, out.subarray(first, first + count));
  }
  return out;
}

function convert(type: Exclude<StoredType, 'float32'>, source: ArrayBuffer, out: Float32Array): void {
  if (type === 'float16') {
    const bits = new Uint16Array(source);
    for (let i = 0; i < out.length; i++) out[i] = HALF_TO_FLOAT[bits[i]];
  } else if (type === 'bfloat16') {
    // bfloat16 is the upper half of a float32
    const bits = new Uint16Array(source);
    const asBits = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < out.length; i++) asBits[i] = bits[i] << 16;
  } else {
    const integers = type === 'int8' ? new Int8Array(source) : type === 'int16' ? new Int16Array(source) : new Int32Array(source);
    out.set(integers.subarray(0, out.length));
  }
}

// Builds one ONNX graph node by node and writes it: a small .onnx file, and its large tensors in a data file beside it.

import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType,
  type AttributeProtoSchema,
  ModelProtoSchema,
  type NodeProtoSchema,
  TensorProto_DataLocation,
  TensorProto_DataType,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from 'onnx-buf';

export type ElementType = 'float32' | 'int64' | 'int8' | 'uint8';

const DATA_TYPE = {
  float32: TensorProto_DataType.FLOAT,
  int64: TensorProto_DataType.INT64,
  int8: TensorProto_DataType.INT8,
  uint8: TensorProto_DataType.UINT8,
} as const;

type TensorData = Float32Array | BigInt64Array | Int8Array | Uint8Array;
type Attribute = number | string | readonly number[];

/** Integer attributes unless the value's key is listed here: ONNX tells `1` and `1.0` apart, JavaScript does not. */
const FLOAT_ATTRIBUTES = new Set(['epsilon', 'scale', 'alpha']);

/** A dimension: a number, or the name of one that is free. */
export type Dimension = number | string;

/** Tensors of at least this many bytes go to the data file; ONNX files themselves end at 2 GB. */
const EXTERNAL_BYTES = 4096;
/** onnxruntime maps external data into memory, which wants page alignment. */
const ALIGNMENT = 4096;

/** Values are names (strings), as in ONNX itself. An empty string stands for an optional input left out. */
export class OnnxGraph {
  readonly #name: string;
  readonly #path: string;
  readonly #data: number;
  readonly #nodes: MessageInitShape<typeof NodeProtoSchema>[] = [];
  readonly #initializers: MessageInitShape<typeof TensorProtoSchema>[] = [];
  readonly #initializerNames = new Set<string>();
  readonly #inputs: MessageInitShape<typeof ValueInfoProtoSchema>[] = [];
  readonly #outputs: MessageInitShape<typeof ValueInfoProtoSchema>[] = [];
  #dataLength = 0;
  #count = 0;

  /** @param path of the .onnx file; the data file is `path + '.data'`. */
  constructor(name: string, path: string) {
    this.#name = name;
    this.#path = path;
    this.#data = openSync(`${path}.data`, 'w');
  }

  input(name: string, type: ElementType, shape: readonly Dimension[]): string {
    this.#inputs.push(valueInfo(name, type, shape));
    return name;
  }

  output(name: string, type: ElementType, shape: readonly Dimension[]): void {
    this.#outputs.push(valueInfo(name, type, shape));
  }

  has(name: string): boolean {
    return this.#initializerNames.has(name);
  }

  /** A constant tensor, row-major; written at once, so that the caller can free its data. The same name twice is the same tensor. */
  constant(name: string, type: ElementType, shape: readonly number[], data: TensorData): string {
    if (this.#initializerNames.has(name)) return name;
    const elements = shape.reduce((a, b) => a * b, 1);
    if (elements !== data.length)
      throw new RangeError(`constant ${name}: shape [${shape}] has ${elements} elements, the data ${data.length}`);
    this.#initializerNames.add(name);
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    const tensor: MessageInitShape<typeof TensorProtoSchema> = { name, dataType: DATA_TYPE[type], dims: shape.map(BigInt) };
    if (bytes.byteLength < EXTERNAL_BYTES) {
      tensor.rawData = bytes.slice();
    } else {
      tensor.dataLocation = TensorProto_DataLocation.EXTERNAL;
      tensor.externalData = [
        { key: 'location', value: basename(`${this.#path}.data`) },
        { key: 'offset', value: String(this.#dataLength) },
        { key: 'length', value: String(bytes.byteLength) },
      ];
      this.#append(bytes);
    }
    this.#initializers.push(tensor);
    return name;
  }

  float(name: string, values: Float32Array, shape: readonly number[] = [values.length]): string {
    return this.constant(name, 'float32', shape, values);
  }

  scalar(value: number): string {
    return this.constant(`scalar_${value}`, 'float32', [], Float32Array.of(value));
  }

  /** A 1-D int64 constant, as shapes, axes and slice bounds want it. */
  ints(...values: number[]): string {
    return this.constant(`ints_${values.join('_')}`, 'int64', [values.length], BigInt64Array.from(values, BigInt));
  }

  /** One node with one output; returns the output's name. */
  op(kind: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}, output?: string): string {
    return this.ops(kind, inputs, [output ?? `${kind}_${this.#count}`], attributes)[0] as string;
  }

  /** One node with several named outputs. Kinds of Microsoft's domain are written `ms.Kind`. */
  ops(kind: string, inputs: readonly string[], outputs: readonly string[], attributes: Record<string, Attribute> = {}): readonly string[] {
    const [domain, opType] = kind.startsWith('ms.') ? ['com.microsoft', kind.slice(3)] : ['', kind];
    this.#nodes.push({
      name: `${opType}_${this.#count}`,
      opType,
      domain,
      input: [...inputs],
      output: [...outputs],
      attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    });
    this.#count++;
    return outputs;
  }

  /** Writes the .onnx file and closes the data file. */
  save(): void {
    closeSync(this.#data);
    const model = create(ModelProtoSchema, {
      irVersion: 9n,
      producerName: 'whisper-streaming',
      opsetImport: [
        { domain: '', version: 17n },
        { domain: 'com.microsoft', version: 1n },
      ],
      graph: { name: this.#name, node: this.#nodes, initializer: this.#initializers, input: this.#inputs, output: this.#outputs },
    });
    writeFileSync(this.#path, toBinary(ModelProtoSchema, model));
  }

  /** Closes the data file of a graph that is given up. */
  abandon(): void {
    closeSync(this.#data);
  }

  #append(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.byteLength; ) done += writeSync(this.#data, bytes, done, bytes.byteLength - done);
    const padding = (ALIGNMENT - (bytes.byteLength % ALIGNMENT)) % ALIGNMENT;
    if (padding > 0) writeSync(this.#data, new Uint8Array(padding));
    this.#dataLength += bytes.byteLength + padding;
  }
}

/** Writes a graph to `path` and `path.data`; where `build` throws, the data file is closed and no .onnx file appears. */
export function writeGraph(name: string, path: string, build: (graph: OnnxGraph) => void): void {
  const graph = new OnnxGraph(name, path);
  try {
    build(graph);
  } catch (error) {
    graph.abandon();
    throw error;
  }
  graph.save();
}

function valueInfo(name: string, type: ElementType, shape: readonly Dimension[]): MessageInitShape<typeof ValueInfoProtoSchema> {
  const dim = shape.map((d) =>
    typeof d === 'number' ? { value: { case: 'dimValue' as const, value: BigInt(d) } } : { value: { case: 'dimParam' as const, value: d } },
  );
  return { name, type: { value: { case: 'tensorType', value: { elemType: DATA_TYPE[type], shape: { dim } } } } };
}

function attribute(name: string, value: Attribute): MessageInitShape<typeof AttributeProtoSchema> {
  if (typeof value === 'string') return { name, type: AttributeProto_AttributeType.STRING, s: new TextEncoder().encode(value) };
  if (typeof value !== 'number') return { name, type: AttributeProto_AttributeType.INTS, ints: value.map(BigInt) };
  if (FLOAT_ATTRIBUTES.has(name)) return { name, type: AttributeProto_AttributeType.FLOAT, f: value };
  return { name, type: AttributeProto_AttributeType.INT, i: BigInt(value) };
}

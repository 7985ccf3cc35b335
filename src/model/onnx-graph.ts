// Builds one ONNX graph node by node and writes it: a small .onnx file, and its large tensors in a data file beside it.

import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType,
  type AttributeProtoSchema,
  type GraphProto,
  type GraphProtoSchema,
  ModelProtoSchema,
  type NodeProtoSchema,
  TensorProto_DataLocation,
  TensorProto_DataType,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from 'onnx-buf';

export type ElementType = 'float32' | 'float16' | 'int64' | 'int32' | 'bool' | 'int8' | 'uint8';

const DATA_TYPE = {
  float32: TensorProto_DataType.FLOAT,
  float16: TensorProto_DataType.FLOAT16,
  int64: TensorProto_DataType.INT64,
  int32: TensorProto_DataType.INT32,
  bool: TensorProto_DataType.BOOL,
  int8: TensorProto_DataType.INT8,
  uint8: TensorProto_DataType.UINT8,
} as const;

type TensorData = Float32Array | Uint16Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;
/** The graph that a node such as `Loop` or `If` runs. */
export interface Body {
  readonly graph: MessageInitShape<typeof GraphProtoSchema>;
}
type Attribute = number | string | readonly number[] | Body;

/** Integer attributes unless the value's key is listed here: ONNX tells `1` and `1.0` apart, JavaScript does not. */
const FLOAT_ATTRIBUTES = new Set(['epsilon', 'scale', 'alpha']);

/** A dimension: a number, or the name of one that is free. */
export type Dimension = number | string;

/** Tensors of at least this many bytes go to the data file; ONNX files themselves end at 2 GB. */
const EXTERNAL_BYTES = 4096;
/** onnxruntime maps external data into memory, which wants page alignment. */
const ALIGNMENT = 4096;

/** What a graph and the bodies inside it share: the files, the constants, and a count that keeps names apart. */
interface GraphFile {
  readonly path: string;
  /** Of the data file; null: all tensors are in the graph itself. */
  readonly data: number | null;
  readonly initializers: MessageInitShape<typeof TensorProtoSchema>[];
  readonly initializerNames: Set<string>;
  dataLength: number;
  count: number;
  /** Before the names of nodes. */
  section: string;
}

/** Values are names (strings), as in ONNX itself. An empty string stands for an optional input left out. */
export class OnnxGraph {
  readonly #name: string;
  readonly #file: GraphFile;
  readonly #nodes: MessageInitShape<typeof NodeProtoSchema>[] = [];
  readonly #inputs: MessageInitShape<typeof ValueInfoProtoSchema>[] = [];
  readonly #outputs: MessageInitShape<typeof ValueInfoProtoSchema>[] = [];

  private constructor(name: string, file: GraphFile) {
    this.#name = name;
    this.#file = file;
  }

  /** @param path of the .onnx file; the data file is `path + '.data'`. null: no files, for a graph of a few MB */
  static create(name: string, path: string | null): OnnxGraph {
    const data = path === null ? null : openSync(`${path}.data`, 'w');
    return new OnnxGraph(name, {
      path: path ?? '',
      data,
      initializers: [],
      initializerNames: new Set(),
      dataLength: 0,
      count: 0,
      section: '',
    });
  }

  /** A graph for a node's attribute: it may read every value of this one that is made before the node, and shares its constants. */
  body(name: string, build: (body: OnnxGraph) => void): Body {
    const body = new OnnxGraph(name, this.#file);
    build(body);
    return { graph: body.#proto() };
  }

  /** The nodes made by `build` have names that begin with `name` and a slash. */
  section<T>(name: string, build: () => T): T {
    const outer = this.#file.section;
    this.#file.section = `${outer}${name}/`;
    try {
      return build();
    } finally {
      this.#file.section = outer;
    }
  }

  input(name: string, type: ElementType, shape: readonly Dimension[]): string {
    this.#inputs.push(valueInfo(name, type, shape));
    return name;
  }

  output(name: string, type: ElementType, shape: readonly Dimension[]): void {
    this.#outputs.push(valueInfo(name, type, shape));
  }

  has(name: string): boolean {
    return this.#file.initializerNames.has(name);
  }

  /**
   * A constant tensor, row-major; written at once, so that the caller can free its data. The same name twice is the same tensor, and
   * its data is asked for once.
   */
  constant(name: string, type: ElementType, shape: readonly number[], source: TensorData | (() => TensorData)): string {
    const { initializerNames, initializers, path } = this.#file;
    if (initializerNames.has(name)) return name;
    const data = typeof source === 'function' ? source() : source;
    const elements = shape.reduce((a, b) => a * b, 1);
    if (elements !== data.length)
      throw new RangeError(`constant ${name}: shape [${shape}] has ${elements} elements, the data ${data.length}`);
    initializerNames.add(name);
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    const tensor: MessageInitShape<typeof TensorProtoSchema> = { name, dataType: DATA_TYPE[type], dims: shape.map(BigInt) };
    if (this.#file.data === null || bytes.byteLength < EXTERNAL_BYTES) {
      tensor.rawData = bytes.slice();
    } else {
      tensor.dataLocation = TensorProto_DataLocation.EXTERNAL;
      tensor.externalData = [
        { key: 'location', value: basename(`${path}.data`) },
        { key: 'offset', value: String(this.#file.dataLength) },
        { key: 'length', value: String(bytes.byteLength) },
      ];
      append(this.#file, this.#file.data, bytes);
    }
    initializers.push(tensor);
    return name;
  }

  scalar(value: number): string {
    return this.constant(`scalar_${value}`, 'float32', [], Float32Array.of(value));
  }

  /** A name that no other value has. */
  unique(name: string): string {
    return `${name}_${this.#file.count++}`;
  }

  cast(x: string, type: ElementType, output?: string): string {
    return this.op('Cast', [x], { to: DATA_TYPE[type] }, output);
  }

  /** A 1-D int64 constant, as shapes, axes and slice bounds want it. */
  ints(...values: number[]): string {
    return this.constant(`ints_${values.join('_')}`, 'int64', [values.length], BigInt64Array.from(values, BigInt));
  }

  /** A 1-D int64 constant for a device, such as indices to gather: those of `ints` are read by the processor, and should not travel. */
  indexList(...values: readonly number[]): string {
    return this.constant(`indices_${values.join('_')}`, 'int64', [values.length], BigInt64Array.from(values, BigInt));
  }

  /** One node with one output; returns the output's name. */
  op(kind: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}, output?: string): string {
    return this.ops(kind, inputs, [output ?? `${kind}_${this.#file.count}`], attributes)[0] as string;
  }

  /** One node with several named outputs. Kinds of Microsoft's domain are written `ms.Kind`. */
  ops(kind: string, inputs: readonly string[], outputs: readonly string[], attributes: Record<string, Attribute> = {}): readonly string[] {
    const [domain, opType] = kind.startsWith('ms.') ? ['com.microsoft', kind.slice(3)] : ['', kind];
    this.#nodes.push({
      name: `${this.#file.section}${opType}_${this.#file.count}`,
      opType,
      domain,
      input: [...inputs],
      output: [...outputs],
      attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    });
    this.#file.count++;
    return outputs;
  }

  /** Writes the .onnx file and closes the data file. */
  save(): void {
    this.#close();
    writeFileSync(this.#file.path, this.bytes());
  }

  /** The .onnx file. */
  bytes(): Uint8Array<ArrayBuffer> {
    const model = create(ModelProtoSchema, {
      irVersion: 9n,
      producerName: 'whisper-streaming',
      opsetImport: [
        { domain: '', version: 17n },
        { domain: 'com.microsoft', version: 1n },
      ],
      graph: { ...this.#proto(), initializer: this.#file.initializers },
    });
    return toBinary(ModelProtoSchema, model);
  }

  /** Closes the data file of a graph that is given up. */
  abandon(): void {
    this.#close();
  }

  #close(): void {
    if (this.#file.data !== null) closeSync(this.#file.data);
  }

  #proto() {
    return { name: this.#name, node: this.#nodes, input: this.#inputs, output: this.#outputs };
  }
}

function append(file: GraphFile, data: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength; ) done += writeSync(data, bytes, done, bytes.byteLength - done);
  const padding = (ALIGNMENT - (bytes.byteLength % ALIGNMENT)) % ALIGNMENT;
  if (padding > 0) writeSync(data, new Uint8Array(padding));
  file.dataLength += bytes.byteLength + padding;
}

/** Writes a graph to `path` and `path.data`; where `build` throws, the data file is closed and no .onnx file appears. */
export function writeGraph(name: string, path: string, build: (graph: OnnxGraph) => void): void {
  const graph = OnnxGraph.create(name, path);
  try {
    build(graph);
  } catch (error) {
    graph.abandon();
    throw error;
  }
  graph.save();
}

/** The .onnx file of a graph of a few MB, all of it, for a session that is made of bytes. */
export function graphBytes(name: string, build: (graph: OnnxGraph) => void): Uint8Array<ArrayBuffer> {
  const graph = OnnxGraph.create(name, null);
  build(graph);
  return graph.bytes();
}

function valueInfo(name: string, type: ElementType, shape: readonly Dimension[]): MessageInitShape<typeof ValueInfoProtoSchema> {
  const dim = shape.map((d) =>
    typeof d === 'number' ? { value: { case: 'dimValue' as const, value: BigInt(d) } } : { value: { case: 'dimParam' as const, value: d } },
  );
  return { name, type: { value: { case: 'tensorType', value: { elemType: DATA_TYPE[type], shape: { dim } } } } };
}

function attribute(name: string, value: Attribute): MessageInitShape<typeof AttributeProtoSchema> {
  if (typeof value === 'string') return { name, type: AttributeProto_AttributeType.STRING, s: new TextEncoder().encode(value) };
  if (typeof value === 'object' && 'graph' in value) return { name, type: AttributeProto_AttributeType.GRAPH, g: value.graph };
  if (typeof value !== 'number') return { name, type: AttributeProto_AttributeType.INTS, ints: value.map(BigInt) };
  if (FLOAT_ATTRIBUTES.has(name)) return { name, type: AttributeProto_AttributeType.FLOAT, f: value };
  return { name, type: AttributeProto_AttributeType.INT, i: BigInt(value) };
}

/** The names of all nodes of a graph file, those inside of bodies included. */
export function nodeNames(path: string): string[] {
  const namesOf = (graph: GraphProto): string[] =>
    graph.node.flatMap(({ attribute: attributes, name }) => [name, ...attributes.flatMap(({ g }) => (g ? namesOf(g) : []))]);
  const { graph } = fromBinary(ModelProtoSchema, readFileSync(path));
  return graph ? namesOf(graph) : [];
}

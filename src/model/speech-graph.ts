// Silero VAD as an ONNX graph over many frames at once. The published one takes a frame a run, of which most is overhead.

import { fromBinary } from '@bufbuild/protobuf';
import { type GraphProto, ModelProtoSchema } from 'onnx-buf';
import { kernelMatrix, powerSpectra, unfolded } from './convolution.ts';
import { graphBytes, type OnnxGraph } from './onnx-graph.ts';

/** Samples that a probability stands for, and those before them that the model is given, too. */
export const [SPEECH_FRAME_SAMPLES, SPEECH_CONTEXT_SAMPLES] = [512, 64] as const;
/** Of the state that goes from frame to frame: a hidden vector and a cell. */
export const SPEECH_STATE_SHAPE = [1, 1, 128] as const;

const [WIDTH, GATES] = [128, 4] as const;
/** Of the spectra: four a frame. The last one ends in a reflection of the frame. */
const [FFT_SIZE, HOP, BINS, SPECTRA] = [256, 128, 129, 4] as const;
const REFLECTED = FFT_SIZE + (SPECTRA - 1) * HOP - SPEECH_CONTEXT_SAMPLES - SPEECH_FRAME_SAMPLES;

/** Convolutions of three taps over the spectra. */
const CONVOLUTIONS = [
  { inputs: BINS, outputs: 128, stride: 1 },
  { inputs: 128, outputs: 64, stride: 2 },
  { inputs: 64, outputs: 64, stride: 2 },
  { inputs: 64, outputs: WIDTH, stride: 1 },
] as const;
const TAPS = 3;

/**
 * The graph as an .onnx file.
 *
 * Inputs: `frames` [T, 64 + 512], each behind the end of the one before it, 16 kHz; `hidden` and `cell` [1, 1, 128], zeros at first.
 * Outputs: `probabilities` of speech [T]; `next_hidden`, `next_cell`.
 * @param published silero_vad.onnx of snakers4/silero-vad 6.2
 */
export function speechGraph(published: Uint8Array): Uint8Array<ArrayBuffer> {
  const weights = new PublishedWeights(published);
  return graphBytes('silero-vad', (graph) => buildSpeech(graph, weights));
}

function buildSpeech(graph: OnnxGraph, weights: PublishedWeights): void {
  const frames = graph.input('frames', 'float32', ['T', SPEECH_CONTEXT_SAMPLES + SPEECH_FRAME_SAMPLES]);
  const state = ['hidden', 'cell'].map((name) => graph.input(name, 'float32', SPEECH_STATE_SHAPE));
  let x = magnitudes(graph, frames, weights);
  for (const [i, { inputs, outputs, stride }] of CONVOLUTIONS.entries()) {
    const name = `encoder.${i}.reparam_conv`;
    const padded = graph.op('Pad', [x, graph.ints(0, 1, 0, 0, 1, 0)]);
    const matrix = graph.constant(`${name}.unfolded`, 'float32', [TAPS * inputs, outputs], () =>
      kernelMatrix(weights.read(`${name}.weight`, outputs * inputs * TAPS), outputs, inputs, TAPS),
    );
    const bias = graph.constant(`${name}.bias`, 'float32', [outputs], () => weights.read(`${name}.bias`, outputs));
    x = graph.op('Relu', [graph.op('Add', [graph.op('MatMul', [unfolded(graph, padded, TAPS, stride), matrix]), bias])]);
  }
  // One place is left of each frame's four: [T, 1, width] is a sequence of one row.
  const heard = recurrent(graph, x, state as [string, string], weights);
  const rows = graph.op('Relu', [graph.op('Reshape', [heard, graph.ints(-1, WIDTH)])]);
  const last = graph.constant('decoder.weight', 'float32', [WIDTH, 1], () => weights.read('decoder.decoder.2.weight', WIDTH));
  const bias = graph.constant('decoder.bias', 'float32', [1], () => weights.read('decoder.decoder.2.bias', 1));
  const scores = graph.op('Add', [graph.op('MatMul', [rows, last]), bias]);
  graph.op('Squeeze', [graph.op('Sigmoid', [scores]), graph.ints(1)], {}, 'probabilities');
  graph.output('probabilities', 'float32', ['T']);
}

/** Spectra of the frames, [T, SPECTRA, BINS]. */
function magnitudes(graph: OnnxGraph, frames: string, weights: PublishedWeights): string {
  const reflected = graph.op('Pad', [frames, graph.ints(0, 0, 0, REFLECTED)], { mode: 'reflect' });
  const hops = graph.op('Reshape', [reflected, graph.ints(0, -1, HOP)]);
  const basis = (): Float32Array => weights.read('stft.forward_basis_buffer', 2 * BINS * FFT_SIZE);
  return graph.op('Sqrt', [powerSpectra(graph, unfolded(graph, hops, FFT_SIZE / HOP, 1), FFT_SIZE, BINS, basis)]);
}

/** The LSTM over x [T, 1, width]: [T, 1, 1, width]. */
function recurrent(graph: OnnxGraph, x: string, [hidden, cell]: readonly [string, string], weights: PublishedWeights): string {
  const size = GATES * WIDTH;
  const matrix = (of: string): string =>
    graph.constant(`lstm.${of}`, 'float32', [1, size, WIDTH], () => gatesOf(weights.read(`decoder.rnn.weight_${of}`, size * WIDTH)));
  const bias = graph.constant('lstm.bias', 'float32', [1, 2 * size], () => {
    const both = new Float32Array(2 * size);
    for (const [i, of] of ['ih', 'hh'].entries()) both.set(gatesOf(weights.read(`decoder.rnn.bias_${of}`, size)), i * size);
    return both;
  });
  const outputs = [graph.unique('heard'), 'next_hidden', 'next_cell'];
  const [heard] = graph.ops('LSTM', [x, matrix('ih'), matrix('hh'), bias, '', hidden, cell], outputs, { hidden_size: WIDTH });
  for (const name of outputs.slice(1)) graph.output(name, 'float32', SPEECH_STATE_SHAPE);
  return heard as string;
}

/** Rows for the gates as PyTorch has them (input, forget, cell, output) in ONNX's order (input, output, forget, cell). */
function gatesOf(rows: Float32Array): Float32Array {
  const quarter = rows.length / GATES;
  const ordered = new Float32Array(rows.length);
  for (const [to, from] of [0, 3, 1, 2].entries()) ordered.set(rows.subarray(from * quarter, (from + 1) * quarter), to * quarter);
  return ordered;
}

/** The constants of the branch for 16 kHz; the other one is for 8. */
class PublishedWeights {
  readonly #nodes: GraphProto['node'];

  constructor(published: Uint8Array) {
    const branches = fromBinary(ModelProtoSchema, published).graph?.node.find(({ opType }) => opType === 'If')?.attribute;
    const branch = branches?.find(({ name }) => name === 'then_branch')?.g;
    if (!branch) throw new Error('not a published Silero VAD: it has no branch for 16 kHz');
    this.#nodes = branch.node;
  }

  read(name: string, count: number): Float32Array {
    const node = this.#nodes.find(({ opType, output }) => opType === 'Constant' && output[0]?.endsWith(`__${name}`));
    const bytes = node?.attribute.find((attribute) => attribute.name === 'value')?.t?.rawData;
    if (bytes?.byteLength !== count * Float32Array.BYTES_PER_ELEMENT)
      throw new Error(`not a published Silero VAD: no ${name} of ${count} values`);
    // A copy, as what is read may lie anywhere.
    return new Float32Array(Uint8Array.from(bytes).buffer);
  }
}

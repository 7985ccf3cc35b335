// The encoder as an ONNX graph: PCM of any length in, cross-attention keys and values out.

import { biasDimension, type KeysAndValues, keyBiasedSelfAttention, keysAndValues, selfAttention, transposedKeys } from './attention.ts';
import type { ModelConfig } from './config.ts';
import { kernelMatrix, powerSpectra, unfolded } from './convolution.ts';
import {
  activationType,
  feedForward,
  floats,
  type LayerContext,
  layerContext,
  layerNorm,
  linear,
  type Precision,
  tensor,
  transpose,
} from './graph-layers.ts';
import { FFT_SIZE, FREQUENCY_BINS, fourierBasis, HOP, melFilters } from './mel-filters.ts';
import { type OnnxGraph, writeGraph } from './onnx-graph.ts';
import type { Weights } from './weights.ts';

/**
 * Writes the graph to `path` (and `path.data`).
 *
 * Inputs:
 * - `pcm` [batch, samples]: 16 kHz, silence included, `samples` a multiple of 320 and at most 480 000: positions of 20 ms;
 * - `positions` int64 [S]: which of them go through the layers, ascending; all is as Whisper does it;
 * - `key_bias` [S]: added to the scores of their keys, ln(n) where a position stands for n of them.
 *
 * Outputs:
 * - `cross_k_L`, `cross_v_L` [batch, heads, S, headDim] for each decoder layer L;
 * - `align_k_L` [batch, alignment heads of L, headDim, S]: those keys again, transposed, for layers that have alignment heads;
 * - `encoded` [batch, S, width] and `mel` [batch, samples / 160, melBins], to compare with other implementations (`whisper/model.py`).
 */
export function writeEncoderGraph(path: string, weights: Weights, config: ModelConfig, precision: Precision): void {
  writeGraph('whisper-encoder', path, (graph) => buildEncoder(layerContext(graph, weights, config, precision), config));
}

function buildEncoder(context: LayerContext, config: ModelConfig): void {
  const { graph, headDim } = context;
  const pcm = graph.input('pcm', 'float32', ['batch', 'samples']);
  const chosen: ChosenPositions = {
    positions: graph.input('positions', 'int64', ['positions']),
    keyBias: graph.input('key_bias', 'float32', ['positions']),
  };
  const { mel, encoded } = encoder(context, pcm, config, chosen);
  graph.op('Identity', [mel], {}, 'mel');
  graph.output('mel', 'float32', ['batch', 'frames', config.melBins]);
  graph.op('Identity', [encoded], {}, 'encoded');
  graph.output('encoded', 'float32', ['batch', 'positions', config.width]);
  for (let layer = 0; layer < config.decoderLayers; layer++) {
    const { k, v, align } = crossAttentionInputs(context, encoded, layer, config);
    for (const name of [k, v]) graph.output(name, 'float32', ['batch', config.heads, 'positions', headDim]);
    if (align !== null) graph.output(align, 'float32', ['batch', alignmentHeadsOf(config, layer).length, headDim, 'positions']);
  }
}

/** The positions that go through the layers, the same of all windows of a batch, and what is added to the scores of their keys; [S]. */
export interface ChosenPositions {
  readonly positions: string;
  readonly keyBias: string;
}

/** Keeps windows of a batch from seeing the padding of those that are shorter than it. */
export interface EncoderMask {
  /** [batch, 2 S, 1], 1 where there is audio, else 0; in the type of the activations */
  readonly frames: string;
  /** [batch, 1, S, S], added to the scores */
  readonly bias: string;
  /** S is a multiple of it, which may be more than the model's positions. */
  readonly alignment: number;
}

/**
 * @param pcm float32 [batch, samples]
 * @param form some positions of windows that are all as long, or a mask
 * @returns log-mel, float32 [batch, frames, melBins], and the encoder's output [batch, S, width]
 */
export function encoder(
  context: LayerContext,
  pcm: string,
  config: ModelConfig,
  form: ChosenPositions | EncoderMask,
): { mel: string; encoded: string } {
  const { graph } = context;
  const [chosen, mask] = 'frames' in form ? [null, form] : [form, null];
  const mel = logMel(graph, pcm, config.melBins);
  const typed = activationType(context) === 'float32' ? mel : graph.cast(mel, activationType(context));
  // Behind a window's end the convolutions find zeros, as they do where it is alone.
  const ended = (y: string): string => (mask === null ? y : graph.op('Mul', [y, mask.frames]));
  const frames = ended(convolution(context, ended(typed), 'encoder.conv1', (padded, taps) => unfolded(graph, padded, taps, 1)));
  let x = convolution(context, frames, 'encoder.conv2', (padded, taps) =>
    chosen === null ? unfolded(graph, padded, taps, 2) : unfoldedAt(graph, padded, taps, chosen.positions),
  );
  const table = positionTable(context, config, mask?.alignment ?? 1);
  // The position table is cut to the audio's length: this is what lets the encoder run on less than 30 s.
  const places =
    chosen === null
      ? graph.op('Slice', [table, graph.ints(0), graph.op('Shape', [x], { start: 1, end: 2 }), graph.ints(0)])
      : graph.op('Gather', [table, chosen.positions]);
  x = graph.op('Add', [x, places]);
  let attend: Attend = (q, k, v) => selfAttention(context, { q, bias: mask?.bias ?? '' }, k, v);
  if (chosen !== null) {
    const dimension = biasDimension(context, chosen.keyBias);
    attend = (q, k, v) => keyBiasedSelfAttention(context, q, k, v, dimension);
  }
  for (let layer = 0; layer < config.encoderLayers; layer++) x = encoderLayer(context, x, `encoder.layers.${layer}`, attend);
  return { mel, encoded: layerNorm(context, x, 'encoder.layer_norm') };
}

/** The positions' embeddings, with zeros up to a multiple of `alignment`. */
function positionTable(context: LayerContext, { maxAudioPositions, width }: ModelConfig, alignment: number): string {
  const name = 'encoder.embed_positions.weight';
  const rows = Math.ceil(maxAudioPositions / alignment) * alignment;
  if (rows === maxAudioPositions) return tensor(context, name);
  return floats(context, `${name}.padded`, [rows, width], () => {
    const table = new Float32Array(rows * width);
    table.set(context.weights.read(name));
    return table;
  });
}

type Attend = (q: string, k: string, v: string) => string;

function encoderLayer(context: LayerContext, x: string, prefix: string, attend: Attend): string {
  const { graph } = context;
  const normed = layerNorm(context, x, `${prefix}.self_attn_layer_norm`);
  const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((name) => linear(context, normed, `${prefix}.self_attn.${name}`)) as [
    string,
    string,
    string,
  ];
  const residual = graph.op('Add', [x, linear(context, attend(q, k, v), `${prefix}.self_attn.out_proj`)]);
  return feedForward(context, residual, prefix);
}

/** What a decoder layer reads of the encoder's output: keys and values named `cross_k_L` and `cross_v_L`. */
export interface CrossAttentionInputs extends KeysAndValues {
  /** The keys of the alignment heads, transposed: `align_k_L` [batch, alignment heads, headDim, S]; null for a layer without such heads */
  readonly align: string | null;
}

export function crossAttentionInputs(context: LayerContext, encoded: string, layer: number, config: ModelConfig): CrossAttentionInputs {
  const [keys, values] = ['k', 'v'].map((kind) => linear(context, encoded, `decoder.layers.${layer}.encoder_attn.${kind}_proj`)) as [
    string,
    string,
  ];
  const { k, v } = keysAndValues(context, keys, values, { k: `cross_k_${layer}`, v: `cross_v_${layer}` });
  const aligned = alignmentHeadsOf(config, layer);
  return { k, v, align: aligned.length === 0 ? null : transposedKeys(context, k, aligned, `align_k_${layer}`) };
}

/** The heads of a decoder layer whose cross-attention follows the speech (`whisper/__init__.py`, _ALIGNMENT_HEADS). */
export function alignmentHeadsOf(config: ModelConfig, layer: number): number[] {
  return config.alignmentHeads.filter(([l]) => l === layer).map(([, head]) => head);
}

/**
 * A convolution and its activation, with the kernel as a matrix, times what it sees at each place, side by side. Places that nobody asks for
 * cost nothing, and onnxruntime's own has CUDA plan anew whenever a batch has another shape than the one before.
 * @param x [batch, frames, inputs]
 * @param seen of [batch, 1 + frames + 1, inputs], zeros first and last, gives [batch, places, taps * inputs]
 */
function convolution(context: LayerContext, x: string, name: string, seen: (padded: string, taps: number) => string): string {
  const { graph, weights } = context;
  const [outputs, inputs, taps] = weights.shape(`${name}.weight`) as [number, number, number];
  const padded = graph.op('Pad', [x, graph.ints(0, 1, 0, 0, 1, 0)]);
  const matrix = floats(context, `${name}.unfolded`, [taps * inputs, outputs], () =>
    kernelMatrix(weights.read(`${name}.weight`), outputs, inputs, taps),
  );
  const y = graph.op('MatMul', [seen(padded, taps), matrix]);
  return graph.op('ms.Gelu', [graph.op('Add', [y, tensor(context, `${name}.bias`)])]);
}

/** What a kernel sees at these places, two frames from each to the next: [batch, positions, taps * width]. */
function unfoldedAt(graph: OnnxGraph, padded: string, taps: number, positions: string): string {
  const first = graph.op('Unsqueeze', [graph.op('Mul', [positions, graph.ints(2)]), graph.ints(1)]);
  const rows = graph.op('Gather', [padded, graph.op('Add', [first, graph.ints(...Array.from({ length: taps }, (_, tap) => tap))])], {
    axis: 1,
  });
  return graph.op('Reshape', [rows, graph.ints(0, 0, -1)]);
}

/**
 * `whisper/audio.py` log_mel_spectrogram as nodes; the maximum for the 8-decade floor is taken per row.
 * @param pcm [batch, samples]
 * @returns [batch, samples / 160, melBins]
 */
function logMel(graph: OnnxGraph, pcm: string, melBins: number): string {
  // Frames are blocks of samples side by side, and the next frame begins some blocks later.
  const blocks = FFT_SIZE / BLOCK_SAMPLES;
  const padding = graph.ints(0, FFT_SIZE / 2, 0, FFT_SIZE / 2);
  const rows = graph.op('Reshape', [graph.op('Pad', [pcm, padding], { mode: 'reflect' }), graph.ints(0, -1, BLOCK_SAMPLES)]);
  const frames = unfolded(graph, rows, blocks, HOP / BLOCK_SAMPLES);
  const power = powerSpectra(graph, frames, FFT_SIZE, FREQUENCY_BINS, fourierBasis);
  const whole = graph.op('Slice', [power, graph.ints(0), graph.ints(-1), graph.ints(1)]);
  const filters = graph.constant('mel_filter_columns', 'float32', [FREQUENCY_BINS, melBins], () =>
    transpose(melFilters(melBins), melBins, FREQUENCY_BINS),
  );
  const log = decades(graph, graph.op('MatMul', [whole, filters]));
  // Not ReduceMax, for which CUDA goes through cuDNN, too.
  const flat = graph.op('Reshape', [log, graph.ints(0, -1)]);
  const peak = graph.op('GatherElements', [flat, graph.op('ArgMax', [flat], { axis: 1, keepdims: 1 })], { axis: 1 });
  return scaled(graph, log, graph.op('Unsqueeze', [peak, graph.ints(2)]));
}

/** Divides both the window of the Fourier transform and its hop. */
const BLOCK_SAMPLES = 80;

const decades = (graph: OnnxGraph, mel: string): string =>
  graph.op('Div', [graph.op('Log', [graph.op('Max', [mel, graph.scalar(1e-10)])]), graph.scalar(Math.LN10)]);

/** Eight decades below the peak are kept, and brought to the range that the model knows. */
function scaled(graph: OnnxGraph, log: string, peak: string): string {
  const floor = graph.op('Sub', [peak, graph.scalar(8)]);
  return graph.op('Div', [graph.op('Add', [graph.op('Max', [log, floor]), graph.scalar(4)]), graph.scalar(4)]);
}

// The encoder as an ONNX graph: PCM of any length in, cross-attention keys and values out.

import { biasDimension, type KeysAndValues, keyBiasedSelfAttention, keysAndValues, selfAttention, transposedKeys } from './attention.ts';
import type { ModelConfig } from './config.ts';
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
 * - `encoded` [batch, S, width] and `mel` [batch, melBins, samples / 160], to compare with other implementations (`whisper/model.py`).
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
  graph.output('mel', 'float32', ['batch', config.melBins, 'frames']);
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
 * @param form some positions of windows that are all as long, or a mask. With a mask, convolutions are written as multiplications: for those,
 *   CUDA plans anew whenever a batch has another shape than the one before
 * @returns log-mel, float32 [batch, melBins, frames] (with a mask [batch, 2 S, melBins]), and the encoder's output [batch, S, width]
 */
export function encoder(
  context: LayerContext,
  pcm: string,
  config: ModelConfig,
  form: ChosenPositions | EncoderMask,
): { mel: string; encoded: string } {
  const { graph } = context;
  const mask = 'frames' in form ? form : null;
  const mel = mask === null ? logMel(graph, pcm, config.melBins) : unfoldedLogMel(graph, pcm, config.melBins);
  const typed = activationType(context) === 'float32' ? mel : graph.cast(mel, activationType(context));
  let x: string;
  if (mask === null) {
    x = convolution(context, convolution(context, typed, 'encoder.conv1', 1), 'encoder.conv2', 2);
    x = graph.op('Transpose', [x], { perm: [0, 2, 1] });
  } else {
    // Behind a window's end the convolutions find zeros, as they do where it is alone.
    const ended = (y: string): string => graph.op('Mul', [y, mask.frames]);
    x = unfoldedConvolution(context, ended(typed), 'encoder.conv1', 1);
    x = unfoldedConvolution(context, ended(x), 'encoder.conv2', 2);
  }
  // The position table is cut to the audio's length: this is what lets the encoder run on less than 30 s.
  const length = graph.op('Shape', [x], { start: 1, end: 2 });
  const positions = positionTable(context, config, mask?.alignment ?? 1);
  x = graph.op('Add', [x, graph.op('Slice', [positions, graph.ints(0), length, graph.ints(0)])]);
  let attend: Attend = (q, k, v) => selfAttention(context, { q, bias: mask?.bias ?? '' }, k, v);
  if ('keyBias' in form) {
    x = graph.op('Gather', [x, form.positions], { axis: 1 });
    const dimension = biasDimension(context, form.keyBias);
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

function convolution(context: LayerContext, x: string, name: string, stride: number): string {
  const { graph } = context;
  const inputs = [x, tensor(context, `${name}.weight`), tensor(context, `${name}.bias`)];
  return graph.op('ms.Gelu', [graph.op('Conv', inputs, { kernel_shape: [3], pads: [1, 1], strides: [stride] })]);
}

/** The same on [batch, frames, inputs]: three shifted copies side by side, times the kernel as one matrix. */
function unfoldedConvolution(context: LayerContext, x: string, name: string, stride: number): string {
  const { graph, weights } = context;
  const [outputs, inputs, taps] = weights.shape(`${name}.weight`) as [number, number, number];
  const padded = graph.op('Pad', [x, graph.ints(0, 1, 0, 0, 1, 0)]);
  const matrix = floats(context, `${name}.unfolded`, [taps * inputs, outputs], () => {
    const kernel = weights.read(`${name}.weight`);
    const unfolded = new Float32Array(kernel.length);
    for (let o = 0; o < outputs; o++)
      for (let i = 0; i < inputs; i++)
        for (let t = 0; t < taps; t++) unfolded[(t * inputs + i) * outputs + o] = kernel[(o * inputs + i) * taps + t] as number;
    return unfolded;
  });
  const y = graph.op('MatMul', [unfolded(graph, padded, taps, stride), matrix]);
  return graph.op('ms.Gelu', [graph.op('Add', [y, tensor(context, `${name}.bias`)])]);
}

/** [batch, rows, width] -> [batch, (rows - taps) / stride + 1, taps * width]: what each position of a kernel sees. */
function unfolded(graph: OnnxGraph, x: string, taps: number, stride: number): string {
  const slices = Array.from({ length: taps }, (_, tap) => {
    const end = tap === taps - 1 ? Number.MAX_SAFE_INTEGER : tap - taps + 1;
    return graph.op('Slice', [x, graph.ints(tap), graph.ints(end), graph.ints(1), graph.ints(stride)]);
  });
  return graph.op('Concat', slices, { axis: 2 });
}

/** `logMel` without a convolution; [batch, frames, melBins]. */
function unfoldedLogMel(graph: OnnxGraph, pcm: string, melBins: number): string {
  // Frames are blocks of samples side by side, and the next frame begins some blocks later.
  const blocks = FFT_SIZE / BLOCK_SAMPLES;
  const padding = graph.ints(0, FFT_SIZE / 2, 0, FFT_SIZE / 2);
  const rows = graph.op('Reshape', [graph.op('Pad', [pcm, padding], { mode: 'reflect' }), graph.ints(0, -1, BLOCK_SAMPLES)]);
  const frames = unfolded(graph, rows, blocks, HOP / BLOCK_SAMPLES);
  const basis = graph.constant('fourier_columns', 'float32', [FFT_SIZE, 2 * FREQUENCY_BINS], () =>
    transpose(fourierBasis(), 2 * FREQUENCY_BINS, FFT_SIZE),
  );
  const parts = [graph.unique('real'), graph.unique('imaginary')];
  const halves = graph.ints(FREQUENCY_BINS, FREQUENCY_BINS);
  const [real, imaginary] = graph.ops('Split', [graph.op('MatMul', [frames, basis]), halves], parts, { axis: 2 }) as [string, string];
  const power = graph.op('Add', [graph.op('Mul', [real, real]), graph.op('Mul', [imaginary, imaginary])]);
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

/**
 * `whisper/audio.py` log_mel_spectrogram as nodes; the maximum for the 8-decade floor is taken per row.
 * @param pcm [batch, samples]
 * @returns [batch, melBins, samples / 160]
 */
function logMel(graph: OnnxGraph, pcm: string, melBins: number): string {
  const padded = graph.op('Pad', [graph.op('Unsqueeze', [pcm, graph.ints(1)]), graph.ints(0, 0, FFT_SIZE / 2, 0, 0, FFT_SIZE / 2)], {
    mode: 'reflect',
  });
  const basis = graph.constant('fourier', 'float32', [2 * FREQUENCY_BINS, 1, FFT_SIZE], fourierBasis);
  const spectrum = graph.op('Conv', [padded, basis], { strides: [HOP] });
  const [real, imaginary] = graph.ops('Split', [spectrum, graph.ints(FREQUENCY_BINS, FREQUENCY_BINS)], ['real', 'imaginary'], { axis: 1 });
  const power = graph.op('Add', [
    graph.op('Mul', [real as string, real as string]),
    graph.op('Mul', [imaginary as string, imaginary as string]),
  ]);
  const whole = graph.op('Slice', [power, graph.ints(0), graph.ints(-1), graph.ints(2)]);
  const mel = graph.op('MatMul', [graph.constant('mel_filters', 'float32', [melBins, FREQUENCY_BINS], () => melFilters(melBins)), whole]);
  const log = decades(graph, mel);
  return scaled(graph, log, graph.op('ReduceMax', [log], { axes: [1, 2], keepdims: 1 }));
}

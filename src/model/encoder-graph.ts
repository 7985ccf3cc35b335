// The encoder as an ONNX graph: PCM of any length in, cross-attention keys and values out.

import type { ModelConfig } from './config.ts';
import { feedForward, type LayerContext, type LinearForm, layerNorm, linear, splitHeads } from './graph-layers.ts';
import { FFT_SIZE, FREQUENCY_BINS, fourierBasis, HOP, melFilters } from './mel-filters.ts';
import { type OnnxGraph, writeGraph } from './onnx-graph.ts';
import type { Weights } from './weights.ts';

/**
 * Writes the graph to `path` (and `path.data`).
 *
 * Input `pcm` [batch, samples]: 16 kHz, silence included, `samples` a multiple of 320 and at most 480 000.
 * Outputs, with S = samples / 320 positions of 20 ms:
 * - `cross_k_L`, `cross_v_L` [batch, heads, S, headDim] for each decoder layer L;
 * - `align_k_L` [batch, alignment heads of L, headDim, S]: those keys again, transposed, for layers that have alignment heads;
 * - `encoded` [batch, S, width] and `mel` [batch, melBins, 2 S], to compare with other implementations (`whisper/model.py`).
 */
export function writeEncoderGraph(path: string, weights: Weights, config: ModelConfig, form: LinearForm): void {
  writeGraph('whisper-encoder', path, (graph) => buildEncoder(graph, weights, config, form));
}

function buildEncoder(graph: OnnxGraph, weights: Weights, config: ModelConfig, form: LinearForm): void {
  const context: LayerContext = { graph, weights, form, heads: config.heads };
  const mel = logMel(graph, graph.input('pcm', 'float32', ['batch', 'samples']), config.melBins);
  graph.output(mel, 'float32', ['batch', config.melBins, 'frames']);

  let x = convolution(context, mel, 'encoder.conv1', 1);
  x = convolution(context, x, 'encoder.conv2', 2);
  x = graph.op('Transpose', [x], { perm: [0, 2, 1] });
  // The position table is cut to the audio's length: this is what lets the encoder run on less than 30 s.
  const length = graph.op('Shape', [x], { start: 1, end: 2 });
  const positions = graph.float(
    'encoder.embed_positions.weight',
    weights.read('encoder.embed_positions.weight'),
    weights.shape('encoder.embed_positions.weight'),
  );
  x = graph.op('Add', [x, graph.op('Slice', [positions, graph.ints(0), length, graph.ints(0)])]);
  for (let layer = 0; layer < config.encoderLayers; layer++) x = encoderLayer(context, x, `encoder.layers.${layer}`);
  x = graph.op('Identity', [layerNorm(context, x, 'encoder.layer_norm')], {}, 'encoded');
  graph.output('encoded', 'float32', ['batch', 'positions', config.width]);

  for (let layer = 0; layer < config.decoderLayers; layer++) crossAttentionOutputs(context, x, layer, config);
}

function encoderLayer(context: LayerContext, x: string, prefix: string): string {
  const { graph, heads } = context;
  const normed = layerNorm(context, x, `${prefix}.self_attn_layer_norm`);
  const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((name) => linear(context, normed, `${prefix}.self_attn.${name}`)) as [
    string,
    string,
    string,
  ];
  const attended = graph.op('ms.MultiHeadAttention', [q, k, v], { num_heads: heads });
  const residual = graph.op('Add', [x, linear(context, attended, `${prefix}.self_attn.out_proj`)]);
  return feedForward(context, residual, prefix);
}

function crossAttentionOutputs(context: LayerContext, x: string, layer: number, config: ModelConfig): void {
  const { graph } = context;
  const headDim = config.width / config.heads;
  for (const kind of ['k', 'v'] as const) {
    const name = `cross_${kind}_${layer}`;
    splitHeads(graph, linear(context, x, `decoder.layers.${layer}.encoder_attn.${kind}_proj`), config.heads, name);
    graph.output(name, 'float32', ['batch', config.heads, 'positions', headDim]);
  }
  const aligned = alignmentHeadsOf(config, layer);
  if (aligned.length === 0) return;
  const keys = graph.op('Gather', [`cross_k_${layer}`, graph.ints(...aligned)], { axis: 1 });
  graph.op('Transpose', [keys], { perm: [0, 1, 3, 2] }, `align_k_${layer}`);
  graph.output(`align_k_${layer}`, 'float32', ['batch', aligned.length, headDim, 'positions']);
}

/** The heads of a decoder layer whose cross-attention follows the speech (`whisper/__init__.py`, _ALIGNMENT_HEADS). */
export function alignmentHeadsOf(config: ModelConfig, layer: number): number[] {
  return config.alignmentHeads.filter(([l]) => l === layer).map(([, head]) => head);
}

function convolution({ graph, weights }: LayerContext, x: string, name: string, stride: number): string {
  const w = graph.float(`${name}.weight`, weights.read(`${name}.weight`), weights.shape(`${name}.weight`));
  const b = graph.float(`${name}.bias`, weights.read(`${name}.bias`));
  return graph.op('ms.Gelu', [graph.op('Conv', [x, w, b], { kernel_shape: [3], pads: [1, 1], strides: [stride] })]);
}

/**
 * `whisper/audio.py` log_mel_spectrogram as nodes; the maximum for the 8-decade floor is taken per row.
 * @param pcm [batch, samples]
 * @returns [batch, melBins, samples / 160], named `mel`
 */
function logMel(graph: OnnxGraph, pcm: string, melBins: number): string {
  const padded = graph.op('Pad', [graph.op('Unsqueeze', [pcm, graph.ints(1)]), graph.ints(0, 0, FFT_SIZE / 2, 0, 0, FFT_SIZE / 2)], {
    mode: 'reflect',
  });
  const basis = graph.float('fourier', fourierBasis(), [2 * FREQUENCY_BINS, 1, FFT_SIZE]);
  const spectrum = graph.op('Conv', [padded, basis], { strides: [HOP] });
  const [real, imaginary] = graph.ops('Split', [spectrum, graph.ints(FREQUENCY_BINS, FREQUENCY_BINS)], ['real', 'imaginary'], { axis: 1 });
  const power = graph.op('Add', [
    graph.op('Mul', [real as string, real as string]),
    graph.op('Mul', [imaginary as string, imaginary as string]),
  ]);
  const whole = graph.op('Slice', [power, graph.ints(0), graph.ints(-1), graph.ints(2)]);
  const mel = graph.op('MatMul', [graph.float('mel_filters', melFilters(melBins), [melBins, FREQUENCY_BINS]), whole]);
  const log = graph.op('Div', [graph.op('Log', [graph.op('Max', [mel, graph.scalar(1e-10)])]), graph.scalar(Math.LN10)]);
  const floor = graph.op('Sub', [graph.op('ReduceMax', [log], { axes: [1, 2], keepdims: 1 }), graph.scalar(8)]);
  return graph.op('Div', [graph.op('Add', [graph.op('Max', [log, floor]), graph.scalar(4)]), graph.scalar(4)], {}, 'mel');
}

// Maps the tensors of a CTranslate2 Whisper model to their Hugging Face names; fused projections become row ranges.

import { WhisperError } from '../core/errors.ts';
import { type Ctranslate2File, type Ctranslate2Tensor, openCtranslate2File } from './ctranslate2-file.ts';
import { BYTES_PER_VALUE, readValues } from './tensor-values.ts';
import type { Weights } from './weights-types.ts';

/** Where a tensor lies: part `part` of `parts` equal row ranges of the stored tensor. */
interface Source {
  readonly stored: string;
  readonly part: number;
  readonly parts: number;
}

const whole = (stored: string): Source => ({ stored, part: 0, parts: 1 });

/** Opens `model.bin`; throws `model_corrupt` for whatever does not fit. */
export function openCtranslate2Weights(path: string): Weights {
  const { file, tensors } = openCtranslate2File(path);
  try {
    return createWeights({ file, tensors });
  } catch (error) {
    file.close();
    throw error;
  }
}

function createWeights({ file, tensors }: Ctranslate2File): Weights {
  const corrupt = (problem: string): WhisperError => new WhisperError('model_corrupt', `${file.path}: ${problem}`);
  const sources = new Map<string, Source>();
  for (const stored of tensors.keys()) {
    for (const [name, source] of toHuggingFace(stored)) sources.set(name, source);
  }
  const find = (name: string): { source: Source; tensor: Ctranslate2Tensor } => {
    const source = sources.get(name);
    const tensor = source === undefined ? undefined : tensors.get(source.stored);
    if (source === undefined || tensor === undefined) throw corrupt(`has no tensor ${name}`);
    if (source.parts > 1 && (tensor.shape.length === 0 || tensor.shape[0] % source.parts !== 0)) {
      throw corrupt(`${source.stored} of shape [${tensor.shape.join(', ')}] cannot be split into ${source.parts} parts`);
    }
    return { source, tensor };
  };
  const headsTensor = tensors.get('encoder/num_heads');

  return {
    names: [...sources.keys()].sort(),
    heads: headsTensor?.valueCount === 1 ? readValues(file, headsTensor, 'encoder/num_heads')[0] : undefined,
    has: (name) => sources.has(name),
    shape: (name) => {
      const { source, tensor } = find(name);
      return source.parts === 1 ? tensor.shape : [tensor.shape[0] / source.parts, ...tensor.shape.slice(1)];
    },
    read: (name) => {
      const { source, tensor } = find(name);
      const valueCount = tensor.valueCount / source.parts;
      const position = tensor.position + source.part * valueCount * BYTES_PER_VALUE[tensor.type];
      const values = readValues(file, { type: tensor.type, position, valueCount }, source.stored);
      if (tensor.type.startsWith('int')) unscale(values, source, tensor);
      return values;
    },
    close: () => file.close(),
  };

  /** CTranslate2 stores round(weight * scale): one scale per row for int8, one for the tensor in int16. */
  function unscale(values: Float32Array, source: Source, tensor: Ctranslate2Tensor): void {
    const scaleName = `${source.stored}_scale`;
    const stored = tensors.get(scaleName);
    if (stored === undefined) throw corrupt(`${source.stored} is ${tensor.type} without ${scaleName}`);
    const scales = readValues(file, stored, scaleName);
    const rows = tensor.shape.length === 0 ? 1 : tensor.shape[0] / source.parts;
    if (scales.length !== 1 && scales.length !== rows * source.parts) {
      throw corrupt(`${scaleName} has ${scales.length} values, expected 1 or ${rows * source.parts}`);
    }
    const columns = values.length / rows;
    for (let row = 0; row < rows; row++) {
      const scale = scales.length === 1 ? scales[0] : scales[source.part * rows + row];
      for (let i = row * columns; i < (row + 1) * columns; i++) values[i] /= scale;
    }
  }
}

const TOP_LEVEL: Readonly<Record<string, string>> = {
  'encoder/position_encodings/encodings': 'encoder.embed_positions.weight',
  'decoder/position_encodings/encodings': 'decoder.embed_positions.weight',
  'decoder/embeddings/weight': 'decoder.embed_tokens.weight',
};

/** The Hugging Face tensors that one stored tensor holds; empty for settings, scales and the tied output projection. */
function toHuggingFace(stored: string): [string, Source][] {
  const top = TOP_LEVEL[stored];
  if (top !== undefined) return [[top, whole(stored)]];
  const convolution = /^encoder\/(conv[12])\/(weight|bias)$/.exec(stored);
  if (convolution) return [[`encoder.${convolution[1]}.${convolution[2]}`, whole(stored)]];
  const norm = /^(encoder|decoder)\/layer_norm\/(gamma|beta)$/.exec(stored);
  if (norm) return [[`${norm[1]}.layer_norm.${normParameter(norm[2])}`, whole(stored)]];
  const layer =
    /^(encoder|decoder)\/layer_(\d+)\/(self_attention|attention|ffn)\/(linear_[012]|layer_norm)\/(weight|bias|gamma|beta)$/.exec(stored);
  if (layer) return layerTensors(stored, `${layer[1]}.layers.${layer[2]}`, layer[3], layer[4], layer[5]);
  return [];
}

function layerTensors(stored: string, prefix: string, block: string, part: string, parameter: string): [string, Source][] {
  if (part === 'layer_norm') {
    const norm = { self_attention: 'self_attn_layer_norm', attention: 'encoder_attn_layer_norm', ffn: 'final_layer_norm' }[block];
    return [[`${prefix}.${norm}.${normParameter(parameter)}`, whole(stored)]];
  }
  if (block === 'ffn') return [[`${prefix}.${part === 'linear_0' ? 'fc1' : 'fc2'}.${parameter}`, whole(stored)]];

  const attention = block === 'self_attention' ? 'self_attn' : 'encoder_attn';
  const fused = {
    self_attention: { linear_0: 'qkv', linear_1: 'o' },
    attention: { linear_0: 'q', linear_1: 'kv', linear_2: 'o' },
  } as const;
  const letters = (fused[block as keyof typeof fused] as Readonly<Record<string, string>>)[part] ?? '';
  return [...letters].flatMap((letter, index): [string, Source][] => {
    // Whisper's keys have no bias (it would not change the softmax); the fused bias holds zeros in its place
    if (letter === 'k' && parameter === 'bias') return [];
    const projection = letter === 'o' ? 'out_proj' : `${letter}_proj`;
    return [[`${prefix}.${attention}.${projection}.${parameter}`, { stored, part: index, parts: letters.length }]];
  });
}

function normParameter(parameter: string): 'weight' | 'bias' {
  return parameter === 'gamma' ? 'weight' : 'bias';
}

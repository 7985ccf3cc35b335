// The sizes of published Whisper models, for weights that are random: speed depends on sizes, not on values.

import type { ModelConfig } from '../../src/model/config.ts';
import { toyConfig, weightShapes } from '../../test/toy-model.ts';

type Sizes = Pick<ModelConfig, 'melBins' | 'encoderLayers' | 'decoderLayers' | 'width' | 'vocabularySize' | 'alignmentHeads'>;

const MULTILINGUAL = 51_865;
/** large-v3 knows a language more. */
const MULTILINGUAL_V3 = 51_866;

const headsOf = (layer: number, count: number): [number, number][] => Array.from({ length: count }, (_, head) => [layer, head]);

/** Sizes from the config.json of each openai/whisper-NAME, alignment heads from its generation_config.json. */
export const SHAPES = {
  // No published model: small enough to be measured on a processor within seconds.
  toy: {
    melBins: 80,
    encoderLayers: 2,
    decoderLayers: 2,
    width: 128,
    vocabularySize: MULTILINGUAL,
    alignmentHeads: headsOf(1, 2),
  },
  tiny: {
    melBins: 80,
    encoderLayers: 4,
    decoderLayers: 4,
    width: 384,
    vocabularySize: MULTILINGUAL,
    alignmentHeads: [
      [2, 2],
      [3, 0],
      [3, 2],
      [3, 3],
      [3, 4],
      [3, 5],
    ],
  },
  base: {
    melBins: 80,
    encoderLayers: 6,
    decoderLayers: 6,
    width: 512,
    vocabularySize: MULTILINGUAL,
    alignmentHeads: [
      [3, 1],
      [4, 2],
      [4, 3],
      [4, 7],
      [5, 1],
      [5, 2],
      [5, 4],
      [5, 6],
    ],
  },
  small: {
    melBins: 80,
    encoderLayers: 12,
    decoderLayers: 12,
    width: 768,
    vocabularySize: MULTILINGUAL,
    alignmentHeads: [
      [5, 3],
      [5, 9],
      [8, 0],
      [8, 4],
      [8, 7],
      [8, 8],
      [9, 0],
      [9, 7],
      [9, 9],
      [10, 5],
    ],
  },
  'large-v3': {
    melBins: 128,
    encoderLayers: 32,
    decoderLayers: 32,
    width: 1280,
    vocabularySize: MULTILINGUAL_V3,
    alignmentHeads: [
      [7, 0],
      [10, 17],
      [12, 18],
      [13, 12],
      [16, 1],
      [17, 14],
      [19, 11],
      [21, 4],
      [24, 1],
      [25, 6],
    ],
  },
  'large-v3-turbo': {
    melBins: 128,
    encoderLayers: 32,
    decoderLayers: 4,
    width: 1280,
    vocabularySize: MULTILINGUAL_V3,
    alignmentHeads: [
      [2, 4],
      [2, 11],
      [3, 3],
      [3, 6],
      [3, 11],
      [3, 14],
    ],
  },
  // distil-whisper/distil-large-v3: its own alignment heads are its teacher's, so the service takes all of the last half of its layers.
  'distil-large-v3': {
    melBins: 128,
    encoderLayers: 32,
    decoderLayers: 2,
    width: 1280,
    vocabularySize: MULTILINGUAL_V3,
    alignmentHeads: headsOf(1, 20),
  },
} as const satisfies Record<string, Sizes>;

export type ShapeName = keyof typeof SHAPES;
export const SHAPE_NAMES = Object.keys(SHAPES) as readonly ShapeName[];

/** As the service reads it of a folder with such a model; heads are 64 wide. */
export const shapeOf = (name: ShapeName): ModelConfig => toyConfig({ name, multilingual: true, ...SHAPES[name] });

export const elementsOf = (dimensions: readonly number[]): number => dimensions.reduce((product, size) => product * size, 1);

/** 809 million of large-v3-turbo, as its card says; the output projection is the embedding and counts once. */
export const parameterCount = (config: ModelConfig): number =>
  [...weightShapes(config).values()].reduce((sum, dimensions) => sum + elementsOf(dimensions), 0);

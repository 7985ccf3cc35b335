// One view of a Whisper checkpoint's tensors, whichever format the folder holds: CTranslate2 or Hugging Face safetensors.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { WhisperError } from '../core/errors.ts';
import { openCtranslate2Weights } from './ctranslate2-weights.ts';
import { openSafetensorsWeights } from './safetensors-weights.ts';
import type { Weights } from './weights-types.ts';

export type { Weights };

/** The files that can hold the weights of a model, the first found wins. */
export const WEIGHT_FILES = ['model.safetensors', 'model.safetensors.index.json', 'model.bin'] as const;

/** True where the folder holds weights in a format that `openWeights` reads. */
export function hasWeights(dir: string): boolean {
  return WEIGHT_FILES.some((file) => existsSync(join(dir, file)));
}

/**
 * Opens the weights of a model folder; only the tables of contents are read now, tensors when asked for.
 * Rejects with `model_not_found` (no such files) or `model_corrupt` (says what is wrong in which file).
 */
export async function openWeights(dir: string): Promise<Weights> {
  const file = WEIGHT_FILES.find((name) => existsSync(join(dir, name)));
  if (file === undefined) throw new WhisperError('model_not_found', `${dir}: holds none of ${WEIGHT_FILES.join(', ')}`);
  return file === 'model.bin' ? openCtranslate2Weights(join(dir, file)) : openSafetensorsWeights(dir, file);
}

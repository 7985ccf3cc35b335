// Is there speech in a region? Level first (costs nothing), then the voice-activity model's probabilities. Pure.

import { SAMPLE_RATE } from '../core/units.ts';

/** Samples per probability of a SpeechDetector (32 ms). */
export const DETECTOR_FRAME_SAMPLES = 512;

/** Samples of one frame of the level measurement (20 ms). */
const LEVEL_FRAME_SAMPLES = SAMPLE_RATE / 50;

/** Fewer frames than this over the threshold are a click, not speech: 64 ms, shorter than any word. */
export const SPEECH_FRAMES_MINIMUM = 2;

/** Level of pcm[from, to) in dBFS (root mean square; a full-scale square wave is 0); -Infinity for digital silence. */
export function levelDb(pcm: Float32Array, from: number, to: number): number {
  let energy = 0;
  for (let i = from; i < to; i++) energy += pcm[i]! * pcm[i]!;
  return 10 * Math.log10(energy / Math.max(1, to - from));
}

/** Whether no 20 ms of the region reach the level. */
export function isSilent(pcm: Float32Array, thresholdDb: number): boolean {
  for (let from = 0; from < pcm.length; from += LEVEL_FRAME_SAMPLES) {
    if (levelDb(pcm, from, Math.min(pcm.length, from + LEVEL_FRAME_SAMPLES)) >= thresholdDb) return false;
  }
  return true;
}

/**
 * Whether the detector heard speech.
 * @param probabilities one for each started 512 samples
 * @param contextSamples samples at the start that only warmed the detector up; frames that end there don't count
 */
export function hasSpeech(probabilities: Float32Array, contextSamples: number, threshold: number): boolean {
  let run = 0;
  for (let i = Math.floor(contextSamples / DETECTOR_FRAME_SAMPLES); i < probabilities.length; i++) {
    run = probabilities[i]! >= threshold ? run + 1 : 0;
    if (run >= SPEECH_FRAMES_MINIMUM) return true;
  }
  // A region of one frame has no second one to agree.
  return run > 0 && probabilities.length - Math.floor(contextSamples / DETECTOR_FRAME_SAMPLES) < SPEECH_FRAMES_MINIMUM;
}

/** Frames that the detector takes for speech; parameters as above. */
export function speechFrames(probabilities: Float32Array, contextSamples: number, threshold: number): number {
  return probabilities.subarray(Math.floor(contextSamples / DETECTOR_FRAME_SAMPLES)).filter((p) => p >= threshold).length;
}

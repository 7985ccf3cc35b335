// Scores every 512 samples of a file for speech (0-1): by the voice-activity model, or by level where there is none.

import type { SpeechDetector } from '../engine/transcriber.ts';
import type { SampleBuffer } from './sample-buffer.ts';
import { DETECTOR_FRAME_SAMPLES, levelDb } from './speech-gate.ts';

/** Frames scored in one go (28.8 s); fixed positions, so that scores don't depend on how the audio came. */
const BLOCK_FRAMES = 900;
/** Frames before a block that warm the detector up (0.5 s). */
const CONTEXT_FRAMES = 16;

export interface SpeechScores {
  /** Score (0-1) from which a frame is speech. */
  readonly threshold: number;
  /** Samples before this position are not needed any more. */
  readonly scoredUntil: number;
  /** Scores of the next frames that the buffer holds; null: too few yet. With `isLast` all that is left, at most one block. */
  next(buffer: SampleBuffer, isLast: boolean): Promise<Float32Array | null>;
}

type ScoreBlock = (pcm: Float32Array, contextFrames: number) => Promise<Float32Array>;

export function createDetectorScores(detect: SpeechDetector['detect'], signal: AbortSignal): SpeechScores {
  return createBlockScores(0.4, CONTEXT_FRAMES, async (pcm, contextFrames) => (await detect(pcm, signal)).subarray(contextFrames));
}

/** How far below the loud parts speech may lie, in dB; also half the scale of the scores. */
const SPEECH_RANGE_DB = 30;
/** Below this all is silence, in dBFS. */
const SILENCE_DB = -60;
/** Recordings change: what was loud long ago counts less. 1 dB in a second. */
const LOUDNESS_DECAY_DB = DETECTOR_FRAME_SAMPLES / 16_000;

export function createLevelScores(): SpeechScores {
  let loudDb = SILENCE_DB + SPEECH_RANGE_DB;
  return createBlockScores(0.5, 0, async (pcm) =>
    Float32Array.from({ length: Math.ceil(pcm.length / DETECTOR_FRAME_SAMPLES) }, (_, frame) => {
      const from = frame * DETECTOR_FRAME_SAMPLES;
      const level = levelDb(pcm, from, Math.min(pcm.length, from + DETECTOR_FRAME_SAMPLES));
      loudDb = Math.max(level, loudDb - LOUDNESS_DECAY_DB, SILENCE_DB + SPEECH_RANGE_DB);
      return Math.max(0, Math.min(1, 1 + (level - loudDb) / (2 * SPEECH_RANGE_DB)));
    }),
  );
}

function createBlockScores(threshold: number, contextFrames: number, score: ScoreBlock): SpeechScores {
  let scoredFrames = 0;
  return {
    threshold,
    get scoredUntil() {
      return Math.max(0, scoredFrames - contextFrames) * DETECTOR_FRAME_SAMPLES;
    },
    async next(buffer, isLast) {
      const from = scoredFrames * DETECTOR_FRAME_SAMPLES;
      const to = Math.min(buffer.end, from + BLOCK_FRAMES * DETECTOR_FRAME_SAMPLES);
      if (to <= from || (!isLast && to - from < BLOCK_FRAMES * DETECTOR_FRAME_SAMPLES)) return null;
      const context = Math.min(contextFrames, scoredFrames);
      const scores = await score(buffer.slice(from - context * DETECTOR_FRAME_SAMPLES, to), context);
      scoredFrames += scores.length;
      return scores;
    },
  };
}

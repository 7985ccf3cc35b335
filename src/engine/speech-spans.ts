// Speech probabilities to spans of speech, as silero-vad's get_speech_timestamps does it.

import { SAMPLE_RATE } from '../core/units.ts';
import { SPEECH_FRAME_SAMPLES } from '../model/speech-graph.ts';

export interface SpeechSpanOptions {
  /** Speech starts at this probability, 0-1; it ends below `threshold - 0.15`. @default 0.5 */
  readonly threshold?: number;
  /** Shorter spans are dropped. @default 250 */
  readonly minSpeechMs?: number;
  /** Shorter pauses do not end a span. @default 100 */
  readonly minSilenceMs?: number;
  /** Each span grows by this at both ends; where two would meet, they share the pause. @default 30 */
  readonly padMs?: number;
  /** Length of the audio, for the last span's end. @default 512 for each probability */
  readonly sampleCount?: number;
}

/** In samples, start < end. */
export interface SpeechSpan {
  readonly start: number;
  readonly end: number;
}

/** How far the probability must fall below the threshold to end speech, so that it does not flicker. */
const HYSTERESIS = 0.15;
const LOWEST_THRESHOLD = 0.01;

/** In order, without overlap. Source: snakers4/silero-vad `get_speech_timestamps`, without its limit on a span's length. */
export function speechSpans(probabilities: Float32Array, options: SpeechSpanOptions = {}): SpeechSpan[] {
  const { threshold = 0.5, minSpeechMs = 250, minSilenceMs = 100, padMs = 30 } = options;
  const sampleCount = options.sampleCount ?? probabilities.length * SPEECH_FRAME_SAMPLES;
  const endThreshold = Math.max(threshold - HYSTERESIS, LOWEST_THRESHOLD);
  const minSpeech = (SAMPLE_RATE * minSpeechMs) / 1000;
  const minSilence = (SAMPLE_RATE * minSilenceMs) / 1000;
  const spans: SpeechSpan[] = [];
  const keep = (start: number, end: number): void => {
    if (end - start > minSpeech) spans.push({ start, end });
  };

  let start = -1;
  /** Where the current pause inside a span began, or -1. */
  let pause = -1;
  for (let frame = 0; frame < probabilities.length; frame++) {
    const at = frame * SPEECH_FRAME_SAMPLES;
    const probability = probabilities[frame];
    if (probability >= threshold) {
      pause = -1;
      if (start < 0) start = at;
    } else if (start >= 0 && probability < endThreshold) {
      if (pause < 0) pause = at;
      if (at - pause < minSilence) continue;
      keep(start, pause);
      start = -1;
      pause = -1;
    }
  }
  if (start >= 0) keep(start, sampleCount);
  return padSpans(spans, Math.round((SAMPLE_RATE * padMs) / 1000), sampleCount);
}

function padSpans(spans: readonly SpeechSpan[], pad: number, sampleCount: number): SpeechSpan[] {
  return spans.map(({ start, end }, index) => {
    const before = index === 0 ? start : start - spans[index - 1].end;
    const after = index === spans.length - 1 ? sampleCount - end : spans[index + 1].start - end;
    const share = (pause: number): number => (pause < 2 * pad ? Math.floor(pause / 2) : pad);
    return {
      start: start - (index === 0 ? Math.min(pad, before) : share(before)),
      end: end + (index === spans.length - 1 ? Math.min(pad, after) : share(after)),
    };
  });
}

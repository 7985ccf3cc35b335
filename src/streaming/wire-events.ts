// Session events (samples) as the wire has them (seconds).

import { toSeconds } from '../core/units.ts';
import type { StreamEvent, WireWord } from '../protocol/stream-messages.ts';
import type { TimedWord } from './commit.ts';
import type { SessionEvent } from './session-types.ts';

export const toWireWord = (word: TimedWord): WireWord => ({
  word: word.text,
  start: toSeconds(word.start),
  end: toSeconds(word.end),
  probability: Math.round(word.probability * 1000) / 1000,
});

/**
 * A position has one number in seconds wherever it appears, so what tiles in samples tiles in seconds.
 * @param lagSeconds of a final
 */
export function toStreamEvent(event: SessionEvent, wordTimestamps: boolean, lagSeconds: number): StreamEvent {
  if (event.kind === 'no_speech') return { type: 'no_speech', start: toSeconds(event.start), end: toSeconds(event.end) };
  if (event.kind === 'finalized') return { type: 'finalized', end: toSeconds(event.end) };
  if (event.kind === 'end') return { type: 'end', audio_seconds: toSeconds(event.receivedSamples), segments: event.segmentCount };
  const transcript = {
    type: 'transcript',
    segment_id: event.segmentId,
    rev: event.rev,
    start: toSeconds(event.start),
    end: toSeconds(event.end),
    text: event.text,
    language: event.language,
    ...(wordTimestamps && { words: event.words.map(toWireWord) }),
  } as const;
  if (event.kind === 'partial') return { ...transcript, is_final: false };
  return { ...transcript, is_final: true, lag: Math.max(0, Math.round(lagSeconds * 1000) / 1000) };
}

// REST bodies: the transcript of a file, and the error body of every route. Times are seconds from the file's start.

import type { ErrorCode } from '../core/errors.ts';
import type { WireWord } from './stream-messages.ts';

export interface TranscriptSegment {
  /** Counts from 0. */
  readonly id: number;
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** Only with `word_timestamps`. */
  readonly words?: readonly WireWord[];
}

/** The transcript of one file. */
export interface Transcript {
  /** The segments' texts in one string, trimmed. */
  readonly text: string;
  /** ISO 639-1 code. */
  readonly language: string;
  /** Length of the audio. */
  readonly duration: number;
  readonly segments: readonly TranscriptSegment[];
}

/** The body of every failed request. */
export interface ErrorBody {
  readonly error: { readonly code: ErrorCode; readonly message: string };
}

// Messages of the WebSocket /stream, both directions, exactly as they are on the wire. Times are seconds from the stream's first sample.

import type { ErrorCode } from '../core/errors.ts';

/** One word of a transcript. Joining the `word`s of a segment gives its text. */
export interface WireWord {
  /** With its leading space, where the language has spaces. */
  readonly word: string;
  readonly start: number;
  readonly end: number;
  /** 0-1 */
  readonly probability: number;
}

interface TranscriptFields {
  readonly type: 'transcript';
  /** Counts finals from 0; the partials before a final carry its number. */
  readonly segment_id: number;
  /** Counts the versions of one segment from 1; the final has the highest. */
  readonly rev: number;
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** ISO 639-1 code. */
  readonly language: string;
  /** Only with `word_timestamps`. */
  readonly words?: readonly WireWord[];
}

/** A guess that the next partial or final with this segment_id replaces. */
export interface PartialTranscript extends TranscriptFields {
  readonly is_final: false;
}

/** Sent once, never changed. */
export interface FinalTranscript extends TranscriptFields {
  readonly is_final: true;
  /** Seconds from the receipt of the segment's last sample to the sending of this message. */
  readonly lag: number;
}

/** A span in which nothing was said. Finals and these spans cover the stream in order, without gap or overlap. */
export interface NoSpeech {
  readonly type: 'no_speech';
  readonly start: number;
  readonly end: number;
}

/** Everything received before `finalize` has been sent as finals and no_speech spans; the stream stays open. */
export interface Finalized {
  readonly type: 'finalized';
  /** Where the committed audio ends. */
  readonly end: number;
}

/** The last message of a stream that went well. */
export interface StreamEnd {
  readonly type: 'end';
  /** Length of all audio received. */
  readonly audio_seconds: number;
  /** Number of finals sent. */
  readonly segments: number;
}

/** What the live session emits; the server sends it unchanged. */
export type StreamEvent = PartialTranscript | FinalTranscript | NoSpeech | Finalized | StreamEnd;

/** The server's first message: the configuration in force. */
export interface Ready {
  readonly type: 'ready';
  readonly session_id: string;
  /** Absent where the server keeps no session to resume. */
  readonly resume_token?: string;
  readonly model: string;
  readonly chunk_duration: number;
  readonly overlap: number;
  readonly use_context: boolean;
  readonly language: string | null;
}

/** The server shuts down: what was received has been sent as finals, the close frame 1001 follows. */
export interface GoingAway {
  readonly type: 'going_away';
  readonly resume_token?: string;
}

/** The last message of a stream that failed; the close frame with the code's close code follows. */
export interface StreamError {
  readonly type: 'error';
  readonly code: ErrorCode;
  readonly message: string;
  /** Seconds. */
  readonly retry_after?: number;
}

/** All that the server sends on /stream. */
export type ServerMessage = Ready | StreamEvent | GoingAway | StreamError;

/** Text control messages of the client, after the optional configuration. */
export const CONTROL_TYPES = ['finalize', 'keep_alive', 'end'] as const;
export type ControlType = (typeof CONTROL_TYPES)[number];
export interface ControlMessage {
  readonly type: ControlType;
}

// What goes into a session and what comes out: options, steps (work for the driver) and events. All times are absolute samples.

import type { Task, TranscribeRequest } from '../engine/transcriber.ts';
import type { TimedWord } from './commit.ts';

export interface SessionOptions {
  /** New audio per window, 1-25 s. */
  readonly chunkSamples: number;
  /** Words that end this close to a window's end are heard again with the next, 0 to half the chunk. */
  readonly overlapSamples: number;
  /** Windows begin with committed words that the decoder is forced through. @default true */
  readonly useContext?: boolean;
  /** ISO code; null finds it. @default null */
  readonly language?: string | null;
  /** @default 'transcribe' */
  readonly task?: Task;
  /** Text that biases spelling, sent with every request. @default '' */
  readonly promptText?: string;
  /** Ask for partials. @default false */
  readonly interimResults?: boolean;
  /** Goes with every request: owners take turns at the engine. @default '' */
  readonly owner?: string;
  /** A region whose every 20 ms lie below this is silence; null switches it off. Unit: dBFS. @default -60 */
  readonly silenceLevelDb?: number | null;
  /** Speech probability (0-1) from which a frame counts as speech; null: there is no detector to ask. @default null */
  readonly speechThreshold?: number | null;
}

/** `reduced`, for engines that are full, goes without search. ARCHITECTURE.md, "Effort", has what that costs. */
export type Effort = 'full' | 'reduced';

/** What the engines have room for, when the next step is looked for. */
export interface Pace {
  /** Audio between two partials; the first of a stream comes after 1 s. Infinity: no partials. */
  readonly partialIntervalSamples: number;
  /** Of the finals. */
  readonly effort: Effort;
}

/** One window of the stream: [start, committedUntil) was committed before and is forced, [committedUntil, end) is new. */
export interface StreamWindow {
  /** Only finals move the stream forward. */
  readonly purpose: 'final' | 'partial';
  readonly start: number;
  readonly committedUntil: number;
  readonly end: number;
  readonly prefix: readonly number[];
  /** Everything up to `end` becomes final. */
  readonly flush: boolean;
  readonly effort: Effort;
}

/** Ask the speech detector, answer with gateResult. */
export interface GateStep {
  readonly kind: 'gate';
  readonly window: StreamWindow;
  readonly pcm: Float32Array;
  /** Samples at the start of pcm that only warm the detector up. */
  readonly contextSamples: number;
}

/** Ask the transcriber, answer with decodeResult. */
export interface DecodeStep {
  readonly kind: 'decode';
  readonly window: StreamWindow;
  readonly request: TranscribeRequest;
}

/** Nothing to ask: these events are due. May be empty; then the session has merely moved on. */
export interface EmitStep {
  readonly kind: 'emit';
  readonly events: readonly SessionEvent[];
}

export type Step = GateStep | DecodeStep | EmitStep;

export interface TranscriptEvent {
  readonly kind: 'final' | 'partial';
  /** Counts finals from 0; a partial carries the number of the final to come. */
  readonly segmentId: number;
  /** Counts the versions of one segment from 1. */
  readonly rev: number;
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly language: string;
  readonly words: readonly TimedWord[];
}

export interface NoSpeechEvent {
  readonly kind: 'no_speech';
  readonly start: number;
  readonly end: number;
}

/** Everything up to `end` is final. */
export interface FinalizedEvent {
  readonly kind: 'finalized';
  readonly end: number;
}

export interface EndEvent {
  readonly kind: 'end';
  readonly receivedSamples: number;
  readonly segmentCount: number;
}

export type SessionEvent = TranscriptEvent | NoSpeechEvent | FinalizedEvent | EndEvent;

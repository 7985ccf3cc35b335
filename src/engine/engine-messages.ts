// What the engine's thread and its owner say to each other.

import type { ErrorCode } from '../core/errors.ts';
import type { TranscribeRequest, TranscribeResult } from './transcriber.ts';

export type EngineMessage =
  | { readonly kind: 'transcribe'; readonly id: number; readonly request: TranscribeRequest }
  | { readonly kind: 'cancel'; readonly id: number }
  /** Give up what waits, finish the pass that runs, end the thread. */
  | { readonly kind: 'close' };

/** What one window took of the engine. */
export interface WindowCost {
  /** Time in the encoder. */
  readonly encodeMs: number;
  /** Time in the decoder: its own passes, and its share of those that it had company in. */
  readonly decodeMs: number;
  /** Passes of the decoder after the first. */
  readonly steps: number;
  /** Mean number of rows in those passes. */
  readonly batchRows: number;
  /** Tokens decoded, those of dropped attempts included. */
  readonly tokens: number;
  readonly draftTokens: number;
  /** Tokens of the draft that were right. */
  readonly acceptedTokens: number;
  /** Decodes: 1 where the first was good. */
  readonly attempts: number;
}

export type EngineReply =
  /** Long work begins, in words. */
  | { readonly kind: 'starting'; readonly message: string }
  | { readonly kind: 'broken'; readonly code: ErrorCode; readonly message: string }
  | { readonly kind: 'ready'; readonly languages: readonly string[] }
  /** A batch did not fit into the device's memory, and comes again in parts. */
  | { readonly kind: 'out-of-memory' }
  | { readonly kind: 'result'; readonly id: number; readonly result: TranscribeResult; readonly cost: WindowCost }
  | { readonly kind: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string };

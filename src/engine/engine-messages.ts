// What the engine's thread and its owner say to each other.

import type { ErrorCode } from '../core/errors.ts';
import type { TranscribeRequest, TranscribeResult } from './transcriber.ts';

export type EngineMessage =
  | { readonly kind: 'transcribe'; readonly id: number; readonly request: TranscribeRequest }
  | { readonly kind: 'cancel'; readonly id: number }
  /** Give up what waits, finish the pass that runs, end the thread. */
  | { readonly kind: 'close' };

export type EngineReply =
  /** Long work begins, in words. */
  | { readonly kind: 'starting'; readonly message: string }
  | { readonly kind: 'broken'; readonly code: ErrorCode; readonly message: string }
  | { readonly kind: 'ready'; readonly languages: readonly string[] }
  | { readonly kind: 'result'; readonly id: number; readonly result: TranscribeResult }
  | { readonly kind: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string };

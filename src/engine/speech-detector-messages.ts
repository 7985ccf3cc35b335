// What the speech detector and its thread say to each other.

import type { ErrorCode } from '../core/errors.ts';

export interface SpeechDetectorWorkerData {
  readonly modelFile: string;
  readonly modelSha256: string;
}

/** `pcm` moves to the worker; a cancelled request is not answered. */
export type SpeechDetectorMessage =
  | { readonly kind: 'detect'; readonly id: number; readonly pcm: Float32Array<ArrayBuffer> }
  | { readonly kind: 'cancel'; readonly id: number }
  | { readonly kind: 'close' };

/** `failed` without an id: the worker could not start. */
export type SpeechDetectorReply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'result'; readonly id: number; readonly probabilities: Float32Array<ArrayBuffer> }
  | { readonly kind: 'failed'; readonly id: number | null; readonly code: ErrorCode; readonly message: string };

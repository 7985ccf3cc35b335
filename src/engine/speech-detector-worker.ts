// The speech detector's thread: Silero VAD over one request after the other. onnxruntime-node computes on the calling thread.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { toWhisperError, WhisperError } from '../core/errors.ts';
import { SPEECH_CONTEXT_SAMPLES, SPEECH_FRAME_SAMPLES, SPEECH_STATE_SHAPE, speechGraph } from '../model/speech-graph.ts';
import type { SpeechDetectorMessage, SpeechDetectorReply, SpeechDetectorWorkerData } from './speech-detector-messages.ts';

/** Frames of a run: 8 s, so that a cancelled request ends soon. */
const FRAMES_AT_ONCE = 256;
const WINDOW_SAMPLES = SPEECH_CONTEXT_SAMPLES + SPEECH_FRAME_SAMPLES;

const port = parentPort as NonNullable<typeof parentPort>;
const reply = (message: SpeechDetectorReply, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

async function loadModel({ modelFile, modelSha256 }: SpeechDetectorWorkerData): Promise<InferenceSession> {
  const bytes = await readFile(modelFile);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== modelSha256) {
    throw new WhisperError('model_corrupt', `The voice-activity model has SHA-256 ${sha256}, expected ${modelSha256}.`);
  }
  return InferenceSession.create(speechGraph(bytes), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
  });
}

/** @returns null where the request was cancelled on the way */
async function detect(model: InferenceSession, pcm: Float32Array, isCancelled: () => boolean): Promise<Float32Array<ArrayBuffer> | null> {
  const probabilities = new Float32Array(Math.ceil(pcm.length / SPEECH_FRAME_SAMPLES));
  let hidden: Tensor = noState();
  let cell: Tensor = noState();
  for (let from = 0; from < probabilities.length; from += FRAMES_AT_ONCE) {
    if (isCancelled()) return null;
    const count = Math.min(FRAMES_AT_ONCE, probabilities.length - from);
    const frames = new Tensor('float32', framesOf(pcm, from, count), [count, WINDOW_SAMPLES]);
    const output = await model.run({ frames, hidden, cell });
    [hidden, cell] = [output.next_hidden as Tensor, output.next_cell as Tensor];
    probabilities.set(output.probabilities?.data as Float32Array, from);
  }
  return probabilities;
}

const noState = (): Tensor => new Tensor('float32', new Float32Array(SPEECH_STATE_SHAPE[2]), SPEECH_STATE_SHAPE);

/** Each behind the end of the one before it, with zeros before the first and behind the last. */
function framesOf(pcm: Float32Array, from: number, count: number): Float32Array {
  const frames = new Float32Array(count * WINDOW_SAMPLES);
  for (let i = 0; i < count; i++) {
    const start = (from + i) * SPEECH_FRAME_SAMPLES - SPEECH_CONTEXT_SAMPLES;
    frames.set(pcm.subarray(Math.max(0, start), start + WINDOW_SAMPLES), i * WINDOW_SAMPLES + Math.max(0, -start));
  }
  return frames;
}

async function serve(model: InferenceSession): Promise<void> {
  const cancelled = new Set<number>();
  const waiting = new Set<number>();
  let last: Promise<void> = Promise.resolve();
  const answer = async (id: number, pcm: Float32Array): Promise<void> => {
    try {
      const probabilities = await detect(model, pcm, () => cancelled.has(id));
      if (probabilities) reply({ kind: 'result', id, probabilities }, [probabilities.buffer]);
    } catch (error) {
      reply({ kind: 'failed', id, code: toWhisperError(error).code, message: 'The voice-activity model failed.' });
    } finally {
      waiting.delete(id);
      cancelled.delete(id);
    }
  };
  port.on('message', (message: SpeechDetectorMessage) => {
    if (message.kind === 'detect') {
      waiting.add(message.id);
      last = last.then(() => answer(message.id, message.pcm));
    } else if (message.kind === 'cancel') {
      if (waiting.has(message.id)) cancelled.add(message.id);
    } else {
      // The thread ends by itself when the port is closed.
      last.then(() => model.release()).finally(() => port.close());
    }
  });
  reply({ kind: 'ready' });
}

try {
  await serve(await loadModel(workerData as SpeechDetectorWorkerData));
} catch (error) {
  const code = error instanceof WhisperError ? error.code : 'model_corrupt';
  const message = error instanceof WhisperError ? error.message : 'The voice-activity model cannot be loaded.';
  reply({ kind: 'failed', id: null, code, message });
  port.close();
}

// The speech detector's thread: Silero VAD over one request after the other. onnxruntime-node computes on the calling thread.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { toWhisperError, WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import type { SpeechDetectorMessage, SpeechDetectorReply, SpeechDetectorWorkerData } from './speech-detector-messages.ts';
import { SPEECH_FRAME_SAMPLES } from './speech-spans.ts';

/** Each frame is given with the end of the one before it. */
const CONTEXT_SAMPLES = 64;
const STATE_SHAPE = [2, 1, 128];

const port = parentPort as NonNullable<typeof parentPort>;
const reply = (message: SpeechDetectorReply, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

async function loadModel({ modelFile, modelSha256 }: SpeechDetectorWorkerData): Promise<InferenceSession> {
  const bytes = await readFile(modelFile);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== modelSha256) {
    throw new WhisperError('model_corrupt', `The voice-activity model has SHA-256 ${sha256}, expected ${modelSha256}.`);
  }
  return InferenceSession.create(bytes, {
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
  const window = new Float32Array(CONTEXT_SAMPLES + SPEECH_FRAME_SAMPLES);
  const input = new Tensor('float32', window, [1, window.length]);
  const sr = new Tensor('int64', BigInt64Array.of(BigInt(SAMPLE_RATE)), []);
  let state = new Tensor('float32', new Float32Array(256), STATE_SHAPE);
  for (let frame = 0; frame < probabilities.length; frame++) {
    if (isCancelled()) return null;
    window.copyWithin(0, SPEECH_FRAME_SAMPLES);
    const samples = pcm.subarray(frame * SPEECH_FRAME_SAMPLES, (frame + 1) * SPEECH_FRAME_SAMPLES);
    window.set(samples, CONTEXT_SAMPLES);
    window.fill(0, CONTEXT_SAMPLES + samples.length);
    const output = await model.run({ input, state, sr });
    state = output.stateN as typeof state;
    probabilities[frame] = (output.output.data as Float32Array)[0];
  }
  return probabilities;
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

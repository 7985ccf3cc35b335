// Whole files: audio in as it is decoded, segments out in order, with memory that doesn't grow with the file.

import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { toWhisperError, WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE, toSeconds } from '../core/units.ts';
import type { SpeechDetector, Task, Transcriber } from '../engine/transcriber.ts';
import type { Transcript, TranscriptSegment } from '../protocol/rest.ts';
import type { TimedWord } from './commit.ts';
import { joinWords } from './event-writer.ts';
import { FILE_HELD_SAMPLES, FILE_LEFT_SAMPLES, FileDecoder } from './file-decoder.ts';
import { type FileWindow, FileWindowPlanner, WINDOW_LIMIT_SECONDS } from './file-windows.ts';
import { LanguageLock } from './language-lock.ts';
import { type Sleep, sleepOnTimer, withRetries } from './retry.ts';
import { SampleBuffer } from './sample-buffer.ts';
import { type Segment, Segmenter } from './segmenter.ts';
import { createDetectorScores, createLevelScores } from './speech-scores.ts';
import { toWireWord } from './wire-events.ts';

/** Live streams come first, so files are patient. */
const RETRY_PAUSES_MS = [250, 500, 1000, 2000, 4000, 8000];
const LANGUAGE_CONFIDENCE = 0.5;
/** ISO 639-2 for a language that nobody could tell: nothing was said. */
const UNDETERMINED = 'und';

export interface FileParts {
  readonly transcriber: Transcriber;
  /** null: speech is told from pauses by level. */
  readonly speechDetector: SpeechDetector | null;
  /** Windows that are with the transcriber at a time, so that it can batch them. @default 6 */
  readonly concurrency?: number;
  /** Waits between retries. @default a timer */
  readonly sleep?: Sleep;
}

export interface FileOptions {
  /** ISO code; null finds it in the first window with speech. */
  readonly language: string | null;
  readonly task: Task;
  readonly prompt: string;
  readonly wordTimestamps: boolean;
  readonly signal: AbortSignal;
  /** Called with the seconds of the file that are done. */
  onProgress?(doneSeconds: number): void;
}

export interface FileSummary {
  readonly language: string;
  /** Seconds. */
  readonly duration: number;
}

/**
 * @param pcm mono at 16 kHz, in blocks of any length
 * @throws WhisperError `no_audio` without samples, `cancelled` or the signal's reason, what `pcm` throws, the engine's errors
 */
export async function transcribeAudio(parts: FileParts, pcm: AsyncIterable<Float32Array>, options: FileOptions): Promise<Transcript> {
  const segments: TranscriptSegment[] = [];
  let text = '';
  const stream = streamSegments(parts, pcm, options);
  for (;;) {
    const step = await stream.next();
    if (step.done) return { text: text.trim(), language: step.value.language, duration: step.value.duration, segments };
    // Not the segments' own texts: those are trimmed, and only some scripts have spaces between words.
    for (const word of step.value.words) text += word.text;
    segments.push(toTranscriptSegment(step.value, segments.length, options.wordTimestamps));
  }
}

/** The segments one by one, as soon as they are final; returns what is known at the end. Errors as transcribeAudio. */
export async function* transcribeSegments(
  parts: FileParts,
  pcm: AsyncIterable<Float32Array>,
  options: FileOptions,
): AsyncGenerator<TranscriptSegment, FileSummary, undefined> {
  const stream = streamSegments(parts, pcm, options);
  try {
    for (let id = 0; ; id++) {
      const step = await stream.next();
      if (step.done) return step.value;
      yield toTranscriptSegment(step.value, id, options.wordTimestamps);
    }
  } finally {
    await stream.return({ language: UNDETERMINED, duration: 0 });
  }
}

function toTranscriptSegment(segment: Segment, id: number, wordTimestamps: boolean): TranscriptSegment {
  const text = joinWords(segment.words);
  const shown = { id, start: toSeconds(segment.start), end: toSeconds(segment.end), text };
  return wordTimestamps ? { ...shown, words: segment.words.map(toWireWord) } : shown;
}

interface Job {
  readonly words: Promise<readonly TimedWord[]>;
  readonly end: number;
}

async function* streamSegments(
  parts: FileParts,
  pcm: AsyncIterable<Float32Array>,
  options: FileOptions,
): AsyncGenerator<Segment, FileSummary, undefined> {
  const { concurrency = 6, sleep = sleepOnTimer } = parts;
  const abandoned = new AbortController();
  const signal = AbortSignal.any([options.signal, abandoned.signal]);
  // Each window that is out listens, in some places: no leak, for which Node.js takes more than ten listeners.
  setMaxListeners(0, signal);
  const language = new LanguageLock(options.language, LANGUAGE_CONFIDENCE);
  const decoder = new FileDecoder({
    language,
    task: options.task,
    promptText: options.prompt,
    owner: randomUUID(),
    transcribe: (request) => withRetries(() => parts.transcriber.transcribe(request, signal), RETRY_PAUSES_MS, signal, sleep),
  });
  const buffer = new SampleBuffer();
  const segmenter = new Segmenter();
  const jobs: Job[] = [];
  const oldest = async (): Promise<Segment[]> => {
    const { words, end } = jobs.shift()!;
    const segments = segmenter.push(await words);
    options.onProgress?.(toSeconds(end));
    return segments;
  };
  try {
    for await (const { window, pcm: audio, pcmStart } of planWindows(parts, pcm, buffer, signal)) {
      const words = decoder.decode(window, audio, pcmStart);
      // Its failure is met when its turn comes.
      words.catch(() => undefined);
      jobs.push({ words, end: window.end });
      // Until the language is known windows go one by one, so that it is fixed for all that follow.
      const room = language.language === null ? 1 : concurrency;
      while (jobs.length >= room) yield* await oldest();
    }
    while (jobs.length > 0) yield* await oldest();
    yield* segmenter.flush();
    if (buffer.end === 0) throw new WhisperError('no_audio', 'expected audio, got no samples');
    options.onProgress?.(toSeconds(buffer.end));
    return { language: language.bestGuess ?? UNDETERMINED, duration: toSeconds(buffer.end) };
  } catch (error) {
    throw options.signal.aborted ? toWhisperError(options.signal.reason) : error;
  } finally {
    abandoned.abort();
    await Promise.allSettled(jobs.map(({ words }) => words));
  }
}

interface PlannedWindow {
  readonly window: FileWindow;
  /** [pcmStart, window.end), with the left context of a chained window. */
  readonly pcm: Float32Array;
  readonly pcmStart: number;
}

async function* planWindows(
  { speechDetector, sleep = sleepOnTimer }: FileParts,
  pcm: AsyncIterable<Float32Array>,
  buffer: SampleBuffer,
  signal: AbortSignal,
): AsyncGenerator<PlannedWindow, void, undefined> {
  const detect: SpeechDetector['detect'] = (block) =>
    withRetries(() => speechDetector!.detect(block, signal), RETRY_PAUSES_MS, signal, sleep);
  const scores = speechDetector === null ? createLevelScores() : createDetectorScores(detect, signal);
  const planner = new FileWindowPlanner(scores.threshold);
  const ready = async function* (isLast: boolean): AsyncGenerator<PlannedWindow, void, undefined> {
    for (let next = await scores.next(buffer, isLast); next !== null; next = await scores.next(buffer, isLast)) {
      planner.push(next);
      yield* cut();
    }
  };
  const cut = function* (): Generator<PlannedWindow, void, undefined> {
    for (let window = planner.next(); window !== null; window = planner.next()) {
      const pcmStart = window.isChained ? Math.max(buffer.start, window.end - WINDOW_LIMIT_SECONDS * SAMPLE_RATE) : window.start;
      yield { window, pcm: buffer.slice(pcmStart, window.end), pcmStart };
    }
    // A chained window reaches back to its anchors and to what was held back for it.
    buffer.dropBefore(Math.min(scores.scoredUntil, planner.plannedUntil - FILE_LEFT_SAMPLES - FILE_HELD_SAMPLES));
  };
  for await (const block of pcm) {
    signal.throwIfAborted();
    buffer.append(block);
    yield* ready(false);
  }
  yield* ready(true);
  planner.end(buffer.end);
  yield* cut();
}

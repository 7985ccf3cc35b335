// The systems under comparison behind one shape: our REST route, our live stream, and faster-whisper.

import { readFile } from 'node:fs/promises';
import type { ErrorBody, Transcript } from '../src/protocol/rest.ts';
import type { WireWord } from '../src/protocol/stream-messages.ts';
import type { ProcessUsage } from '../test/server-process.ts';
import { streamAudio } from '../test/stream-audio.ts';
import type { Clip } from './corpus.ts';
import type { PythonWorker } from './python.ts';

export interface TimedWord {
  readonly word: string;
  readonly start: number;
  readonly end: number;
}

/** One clip through one system. */
export interface Outcome {
  readonly text: string;
  /** Null: the system said none. */
  readonly language: string | null;
  readonly words: readonly TimedWord[];
  readonly wallSeconds: number;
  /** Of the process that did the work; null where it cannot be seen. */
  readonly cpuSeconds: number | null;
  /** Greatest delay of a final, live streams only. */
  readonly lagSeconds?: number;
  /** A refusal: HTTP status or close code with the error's code. */
  readonly refusal?: string;
}

export interface Service {
  readonly url: string;
  /** Null where the process is not ours to watch. */
  readonly usage: (() => ProcessUsage) | null;
}

const timed = (words: readonly WireWord[] | undefined): TimedWord[] => (words ?? []).map(({ word, start, end }) => ({ word, start, end }));

async function measured<Result>(
  service: Service,
  work: () => Promise<Result>,
): Promise<{ result: Result; wallSeconds: number; cpuSeconds: number | null }> {
  const before = service.usage?.().cpuSeconds;
  const startMs = performance.now();
  const result = await work();
  const wallSeconds = (performance.now() - startMs) / 1000;
  const after = service.usage?.().cpuSeconds;
  return { result, wallSeconds, cpuSeconds: before === undefined || after === undefined ? null : after - before };
}

/** POST /transcribe with the file as it lies on disk. A null language is detected. */
export async function postFile(service: Service, file: string, language: string | null, words = false): Promise<Outcome> {
  const query = new URLSearchParams({ ...(language === null ? {} : { language }), ...(words ? { word_timestamps: 'true' } : {}) });
  const body = await readFile(file);
  const { result, wallSeconds, cpuSeconds } = await measured(service, async () => {
    const response = await fetch(`${service.url}/transcribe?${query}`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/octet-stream' },
    });
    return { status: response.status, body: (await response.json()) as Transcript | ErrorBody };
  });
  if ('error' in result.body) {
    return { text: '', language: null, words: [], wallSeconds, cpuSeconds, refusal: `${result.status} ${result.body.error.code}` };
  }
  const { text, language: heard, segments } = result.body;
  return { text, language: heard, words: segments.flatMap((segment) => timed(segment.words)), wallSeconds, cpuSeconds };
}

export interface LiveOptions {
  readonly chunkSeconds: number;
  readonly overlapSeconds: number;
  /** Seconds of audio for each second of time. */
  readonly pace: number;
}

/** The clip's PCM through /stream. */
export async function streamClip(service: Service, pcm: Uint8Array, language: string | null, live: LiveOptions): Promise<Outcome> {
  const config = { chunk_duration: live.chunkSeconds, overlap: live.overlapSeconds, language, word_timestamps: true };
  const { result, wallSeconds, cpuSeconds } = await measured(service, () =>
    streamAudio(`${service.url.replace('http', 'ws')}/stream`, pcm, { config, pace: live.pace }),
  );
  const failure = result.messages.find((message) => message.type === 'error');
  return {
    text: result.text,
    language: result.finals.at(-1)?.language ?? null,
    words: timed(result.words),
    wallSeconds,
    cpuSeconds,
    lagSeconds: Math.max(0, ...result.finals.map((final) => final.lag)),
    ...(failure === undefined ? {} : { refusal: `${result.closeCode} ${failure.code}` }),
  };
}

export interface ReferenceOptions {
  readonly beam: 1 | 5;
  readonly language: string | null;
  readonly words?: boolean;
  readonly vad?: boolean;
}

export async function fasterWhisper(worker: PythonWorker, clip: Clip, options: ReferenceOptions): Promise<Outcome> {
  return worker.request<Outcome>({ op: 'transcribe', file: clip.file, words: false, vad: false, ...options });
}

// The configuration of a stream: its keys, defaults and ranges. The schema is in stream-config-schema.ts.

/** Raw PCM encodings, mono or interleaved; `container` is any file format with its own header (webm, ogg, mp4, mp3, flac, wav). */
export const ENCODINGS = ['pcm_s16le', 'pcm_f32le', 'mulaw', 'alaw', 'container'] as const;
export type Encoding = (typeof ENCODINGS)[number];

export const TASKS = ['transcribe', 'translate'] as const;
export type StreamTask = (typeof TASKS)[number];

/** Inclusive ranges of the numeric keys; lengths in characters. */
export const CONFIG_RANGES = {
  chunk_duration: { min: 1, max: 25 },
  sample_rate: { min: 8000, max: 48_000 },
  channels: { min: 1, max: 8 },
  prompt: { max: 1000 },
} as const;

/** Every key is optional in the client's message; the server fills in the defaults. */
export interface StreamConfig {
  /** ISO 639 code; null detects it once from the first confident speech, then keeps it. @default null */
  readonly language: string | null;
  /** Seconds of new audio per chunk, 1-25. @default 5.0 */
  readonly chunk_duration: number;
  /** Seconds at a chunk's end that are decoded again with the next, 0 up to half the chunk. @default 0.5 */
  readonly overlap: number;
  /** Pass what was said before to the next chunk. @default true */
  readonly use_context: boolean;
  /** @default 'pcm_s16le' */
  readonly encoding: Encoding;
  /** Samples per second, 8000-48000; means nothing with `container`. @default 16000 */
  readonly sample_rate: number;
  /** Interleaved channels, 1-8, mixed to one; means nothing with `container`. @default 1 */
  readonly channels: number;
  /** Send partial transcripts. @default false */
  readonly interim_results: boolean;
  /** Send `words` with each transcript. @default false */
  readonly word_timestamps: boolean;
  /** `translate` writes English. @default 'transcribe' */
  readonly task: StreamTask;
  /** Text that biases names and spelling, at most 1000 characters. @default '' */
  readonly prompt: string;
}

export const DEFAULT_STREAM_CONFIG: StreamConfig = {
  language: null,
  chunk_duration: 5,
  overlap: 0.5,
  use_context: true,
  encoding: 'pcm_s16le',
  sample_rate: 16_000,
  channels: 1,
  interim_results: false,
  word_timestamps: false,
  task: 'transcribe',
  prompt: '',
};

// How a window travels to an engine in another process: paths, and what requests and answers look like on the way.
//
// Plain HTTP/1.1: a connection that closes cancels its window, and anything that passes bytes on can stand between the two. The request
// is one MessagePack map, because samples are bytes; the answer is JSON.

import { decode, encode } from '@msgpack/msgpack';
import { z } from 'zod';
import { WhisperError } from '../core/errors.ts';
import type { ModelInfo, TranscribeRequest, TranscribeResult, TranscriberLoad } from './transcriber.ts';

/** GET: an AsrReport. Who has streams says who it is in the query: `?caller=ID`. */
export const ASR_PATH = '/asr';
/** POST: a window; answers with an AsrAnswer. */
export const WINDOWS_PATH = '/asr/windows';
export const WINDOW_CONTENT_TYPE = 'application/msgpack';

/** Who answers: one of several processes behind one address, and what it measures of itself. */
export interface AsrReplica {
  /** Random, new with every process. */
  readonly replica: string;
  readonly load: TranscriberLoad;
  /** Processes that it has heard of lately. */
  readonly callers: number;
}

export interface AsrReport extends AsrReplica {
  readonly info: ModelInfo;
}

export interface AsrAnswer extends AsrReplica {
  readonly result: TranscribeResult;
  /** From the last byte of the request to the answer. */
  readonly seconds: number;
}

/** 30 s in float32, prompts and more: a window is never larger. */
export const MAX_WINDOW_BYTES = 4 * 1024 * 1024;

/** Below the unit of 16-bit samples nothing is rounded: what can be written in two bytes is, the rest in four. */
const INT16_STEPS = 32_768;

const tokens = () => z.array(z.int().nonnegative());
const samples = () => z.int().nonnegative();

const windowSchema = z.strictObject({
  pcm: z.instanceof(Uint8Array),
  encoding: z.enum(['s16le', 'f32le']),
  timeoutMs: z.number().positive(),
  model: z.string(),
  caller: z.string(),
  language: z.string().nullable(),
  task: z.enum(['transcribe', 'translate']).exactOptional(),
  prompt: tokens().exactOptional(),
  promptText: z.string().exactOptional(),
  prefix: tokens().exactOptional(),
  prefixSamples: samples().exactOptional(),
  draft: tokens().exactOptional(),
  searchUntil: samples().exactOptional(),
  priority: z.enum(['final', 'partial', 'file']).exactOptional(),
  owner: z.string().exactOptional(),
});

/** What a window needs beside its request once it leaves the process. */
export interface WindowHeader {
  /** The sender gives up after so long. */
  readonly timeoutMs: number;
  /** Whose tokens these are: while a deployment changes its model, both are there. */
  readonly model: string;
  /** Who sends it: random, new with every process. */
  readonly caller: string;
}

/** A copy: the samples stay the caller's. */
export function encodeWindow({ pcm, ...request }: TranscribeRequest, header: WindowHeader): Uint8Array {
  const short = toInt16(pcm);
  const { buffer, byteLength, byteOffset } = short ?? pcm;
  const window = {
    ...request,
    ...header,
    pcm: new Uint8Array(buffer, byteOffset, byteLength),
    encoding: short === null ? 'f32le' : 's16le',
  };
  return encode(window, { ignoreUndefined: true });
}

/** @throws WhisperError `invalid_message` */
export function decodeWindow(bytes: Uint8Array): WindowHeader & { readonly request: TranscribeRequest } {
  let value: unknown;
  try {
    value = decode(bytes);
  } catch (cause) {
    throw new WhisperError('invalid_message', 'expected a window as a MessagePack map', { cause });
  }
  const parsed = windowSchema.safeParse(value);
  if (!parsed.success) {
    const key = parsed.error.issues[0]?.path.join('.') || 'the map';
    throw new WhisperError('invalid_message', `a window's ${key} is not what was expected`);
  }
  const { caller, encoding, model, pcm, timeoutMs, ...request } = parsed.data;
  const size = encoding === 's16le' ? 2 : 4;
  if (pcm.length === 0 || pcm.length % size !== 0) throw new WhisperError('invalid_message', "a window's pcm does not hold whole samples");
  // A copy: typed arrays need an aligned start, and must not keep the whole request alive.
  const { buffer } = new Uint8Array(pcm);
  const floats = encoding === 's16le' ? toFloat32(new Int16Array(buffer)) : new Float32Array(buffer);
  return { request: { ...request, pcm: floats }, caller, model, timeoutMs };
}

/** Null where a sample is not exactly a 16-bit one. */
function toInt16(pcm: Float32Array): Int16Array | null {
  const short = new Int16Array(pcm.length);
  for (let i = 0; i < pcm.length; i++) {
    const value = (pcm[i] as number) * INT16_STEPS;
    short[i] = value;
    if (short[i] !== value) return null;
  }
  return short;
}

function toFloat32(short: Int16Array): Float32Array {
  const pcm = new Float32Array(short.length);
  for (let i = 0; i < short.length; i++) pcm[i] = (short[i] as number) / INT16_STEPS;
  return pcm;
}

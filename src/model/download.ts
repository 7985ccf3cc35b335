// Downloads one file over HTTP: resumes with Range, checks size and hash on the way, and appears under its name only when right.

import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { type Dispatcher, fetch } from 'undici';
import { WhisperError } from '../core/errors.ts';
import { type ExpectedFile, FileHasher, hashExisting, type Reporting, type VerifiedFile } from './model-source.ts';

export interface DownloadOptions extends Reporting {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly dispatcher: Dispatcher;
  /** Wait before the first retry; doubles with each that brings nothing. @default 500 */
  readonly retryDelayMs?: number;
}

/** Tries in a row that bring no byte before the download is given up. */
const MAX_FRUITLESS_TRIES = 4;
const DEFAULT_RETRY_DELAY_MS = 500;

/**
 * Brings `file` into `dir`, over `NAME.partial`, which a later call (of this or another process) continues.
 * Rejects with `download_failed`, or with `model_corrupt` where the bytes of a whole new download do not match.
 */
export async function downloadFile(file: ExpectedFile, dir: string, options: DownloadOptions): Promise<VerifiedFile> {
  const finalPath = join(dir, file.name);
  const partialPath = `${finalPath}.partial`;
  const complete = await verify(finalPath, file, options.signal);
  if (complete !== undefined) return complete;

  const resumed = (await sizeOf(partialPath)) > 0;
  try {
    return await downloadAndVerify(file, partialPath, finalPath, options);
  } catch (error) {
    if (!(resumed && error instanceof WhisperError && error.code === 'model_corrupt')) throw error;
    // what an earlier run left was of another version, or damaged: once more from the first byte
    return downloadAndVerify(file, partialPath, finalPath, options);
  }
}

async function downloadAndVerify(
  file: ExpectedFile,
  partialPath: string,
  finalPath: string,
  options: DownloadOptions,
): Promise<VerifiedFile> {
  const hasher = await receiveAll(file, partialPath, options);
  const { sha256, actual, matches } = hasher.finish();
  if (!matches) {
    await rm(partialPath, { force: true });
    throw new WhisperError('model_corrupt', `${options.url}: ${file.hash.kind} hash is ${actual}, expected ${file.hash.hex}`);
  }
  await rename(partialPath, finalPath);
  return { name: file.name, sizeBytes: file.sizeBytes, sha256 };
}

async function receiveAll(file: ExpectedFile, partialPath: string, options: DownloadOptions): Promise<FileHasher> {
  let hasher = await startFrom(partialPath, file, options.signal);
  let fruitless = 0;
  while (hasher.byteLength < file.sizeBytes) {
    const before = hasher.byteLength;
    try {
      hasher = await receive(file, partialPath, hasher, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof WhisperError) throw error;
      fruitless = hasher.byteLength > before ? 0 : fruitless + 1;
      if (fruitless === MAX_FRUITLESS_TRIES) {
        throw new WhisperError(
          'download_failed',
          `${options.url}: stopped after ${hasher.byteLength} of ${file.sizeBytes} bytes (${reasonOf(error)})`,
          { cause: error },
        );
      }
      await delay(
        (options.retryDelayMs ?? DEFAULT_RETRY_DELAY_MS) * 2 ** fruitless,
        undefined,
        options.signal === undefined ? {} : { signal: options.signal },
      );
      // what reached the disk counts, not what was hashed: the writing may have stopped earlier
      if ((await sizeOf(partialPath)) !== hasher.byteLength) hasher = await startFrom(partialPath, file, options.signal);
    }
  }
  return hasher;
}

/** One request; appends to the partial file. A server that ignores Range starts it anew. */
async function receive(file: ExpectedFile, partialPath: string, resumeFrom: FileHasher, options: DownloadOptions): Promise<FileHasher> {
  const from = resumeFrom.byteLength;
  const response = await fetch(options.url, {
    // a compressed answer would have other byte positions
    headers: { ...options.headers, 'accept-encoding': 'identity', ...(from > 0 ? { range: `bytes=${from}-` } : {}) },
    dispatcher: options.dispatcher,
    signal: options.signal ?? null,
  });
  if (response.status >= 500 || response.status === 429) throw new Error(`HTTP ${response.status}`);
  if ((response.status !== 200 && response.status !== 206) || response.body === null) {
    throw new WhisperError('download_failed', `${options.url}: HTTP ${response.status}`);
  }
  if (response.status === 206 && !response.headers.get('content-range')?.startsWith(`bytes ${from}-`)) {
    throw new WhisperError('download_failed', `${options.url}: asked from byte ${from}, got ${response.headers.get('content-range')}`);
  }
  const hasher = response.status === 206 ? resumeFrom : new FileHasher(file);
  const { onProgress } = options;
  await pipeline(
    Readable.fromWeb(response.body),
    async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        if (hasher.byteLength + chunk.length > file.sizeBytes) {
          throw new WhisperError('model_corrupt', `${options.url}: sends more than the expected ${file.sizeBytes} bytes`);
        }
        hasher.update(chunk);
        onProgress?.({ file: file.name, receivedBytes: hasher.byteLength, totalBytes: file.sizeBytes });
        yield chunk;
      }
    },
    createWriteStream(partialPath, { flags: hasher === resumeFrom && from > 0 ? 'a' : 'w' }),
  );
  return hasher;
}

/** A hasher that has seen what the partial file holds; a file that cannot be the start of this one is dropped. */
async function startFrom(partialPath: string, file: ExpectedFile, signal: AbortSignal | undefined): Promise<FileHasher> {
  const hasher = new FileHasher(file);
  const size = await sizeOf(partialPath);
  if (size > file.sizeBytes) await rm(partialPath);
  else if (size > 0) await hashExisting(partialPath, hasher, signal);
  return hasher;
}

async function verify(path: string, file: ExpectedFile, signal: AbortSignal | undefined): Promise<VerifiedFile | undefined> {
  if ((await sizeOf(path)) !== file.sizeBytes) return undefined;
  const hasher = new FileHasher(file);
  await hashExisting(path, hasher, signal);
  const { sha256, matches } = hasher.finish();
  return matches ? { name: file.name, sizeBytes: file.sizeBytes, sha256 } : undefined;
}

/** -1 where there is no such file. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return -1;
    throw error;
  }
}

/** Why something failed, in words: our own message, or the innermost cause, for fetch itself only says "fetch failed". */
export function reasonOf(error: unknown): string {
  if (error instanceof WhisperError) return error.message;
  if (error instanceof Error && error.cause instanceof Error) return reasonOf(error.cause);
  if (!(error instanceof Error)) return String(error);
  return error.message || (error as NodeJS.ErrnoException).code || error.name;
}

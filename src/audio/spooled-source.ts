// FFmpeg's input from a temporary file, for containers in which it has to seek (MP4 with its index at the end).

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FormatContext } from 'node-av/lib';
import { WhisperError } from '../core/errors.ts';
import type { ByteSource } from './byte-source.ts';

const FILE_NAME = 'audio';

export interface SpoolOptions {
  /** Size limit of the file in bytes. */
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  /** Where the temporary folder goes. @default the system's folder for temporary files */
  readonly folder?: string | undefined;
}

/** FFmpeg reads the file by its descriptor, without JavaScript in between. */
export class SpooledSource implements ByteSource {
  readonly error = null;
  onStarve: () => void = () => {};
  readonly #folder: string;
  readonly #file: FileHandle;
  #context: FormatContext | null = null;
  #closed = false;

  private constructor(folder: string, file: FileHandle) {
    this.#folder = folder;
    this.#file = file;
  }

  /** Reads the source to its end. @throws WhisperError `payload_too_large` beyond maxBytes; whatever the source throws */
  static async create(source: AsyncIterable<Uint8Array>, options: SpoolOptions): Promise<SpooledSource> {
    const folder = await mkdtemp(join(options.folder ?? tmpdir(), 'whisper-audio-'));
    try {
      const file = await open(join(folder, FILE_NAME), 'wx+', 0o600);
      try {
        let byteCount = 0;
        for await (const chunk of source) {
          options.signal.throwIfAborted();
          if (byteCount + chunk.length > options.maxBytes) {
            throw new WhisperError('payload_too_large', `The audio is larger than the limit of ${options.maxBytes} bytes.`);
          }
          byteCount = await append(file, chunk, byteCount);
        }
        return new SpooledSource(folder, file);
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  attach(context: FormatContext) {
    this.#context = context;
    // Descriptors do not cross C runtimes on Windows.
    if (platform() === 'win32') return { url: `file:${join(this.#folder, FILE_NAME)}`, options: { protocol_whitelist: 'file' } };
    // Only this descriptor can be read: a file that names another one cannot have it opened.
    return { url: 'fd:', options: { protocol_whitelist: 'fd', fd: this.#file.fd } };
  }

  stop(): void {
    this.#context?.interrupt();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#file.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Writes by position, so that FFmpeg finds the descriptor's own offset at the start. @returns the file's new size */
async function append(file: FileHandle, chunk: Uint8Array, size: number): Promise<number> {
  let written = 0;
  while (written < chunk.length) {
    written += (await file.write(chunk, written, chunk.length - written, size + written)).bytesWritten;
  }
  return size + written;
}

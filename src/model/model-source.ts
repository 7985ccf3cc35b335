// What the places that models come from have in common: progress, messages, and files with an expected hash.

import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';

export interface DownloadProgress {
  /** A file of the model, or a package that holds some. */
  readonly file: string;
  readonly receivedBytes: number;
  /** Undefined where it is not known before the end. */
  readonly totalBytes: number | undefined;
}

/** How a source reports while it works. */
export interface Reporting {
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** One line for the user. */
  readonly onMessage?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** `git-blob` is how git names a file: SHA-1 of `blob SIZE\0` and the contents. */
export interface ExpectedHash {
  readonly kind: 'sha256' | 'git-blob';
  readonly hex: string;
}

export interface ExpectedFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly hash: ExpectedHash;
}

/** A file that arrived and matched its expected hash. */
export interface VerifiedFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** Hashes contents on their way by; always takes the SHA-256 too, which the manifest records. */
export class FileHasher {
  readonly #sha256: Hash = createHash('sha256');
  readonly #blob: Hash | undefined;
  readonly #expected: ExpectedHash;
  byteLength = 0;

  constructor(file: Pick<ExpectedFile, 'hash' | 'sizeBytes'>) {
    this.#expected = file.hash;
    this.#blob = file.hash.kind === 'git-blob' ? createHash('sha1').update(`blob ${file.sizeBytes}\0`) : undefined;
  }

  update(chunk: Uint8Array): void {
    this.#sha256.update(chunk);
    this.#blob?.update(chunk);
    this.byteLength += chunk.length;
  }

  /** Ends the hashing. */
  finish(): { readonly sha256: string; readonly actual: string; readonly matches: boolean } {
    const sha256 = this.#sha256.digest('hex');
    const actual = this.#blob?.digest('hex') ?? sha256;
    return { sha256, actual, matches: actual === this.#expected.hex };
  }
}

/** Feeds a file that is already on disk to the hasher. */
export async function hashExisting(path: string, hasher: FileHasher, signal?: AbortSignal): Promise<void> {
  await pipeline(
    createReadStream(path, { highWaterMark: 1 << 20 }),
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) hasher.update(chunk);
    },
    signal === undefined ? {} : { signal },
  );
}

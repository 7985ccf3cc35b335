// A read-only file with positioned, bounds-checked reads; what does not fit is `model_corrupt`.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { WhisperError } from '../core/errors.ts';

export interface ByteFile {
  readonly path: string;
  readonly byteLength: number;
  /** Fills `target` from `position`; throws `model_corrupt`, naming `what`, where the file is too short. */
  readInto(target: Uint8Array, position: number, what: string): void;
  /** Idempotent. */
  close(): void;
}

/** Opens the file; `model_not_found` where it cannot be opened. */
export function openByteFile(path: string): ByteFile {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    throw new WhisperError('model_not_found', `${path}: cannot be opened (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
  const byteLength = fstatSync(descriptor).size;
  return {
    path,
    byteLength,
    readInto(target, position, what) {
      if (descriptor === undefined) throw new Error(`${path} is closed`);
      if (!Number.isSafeInteger(position) || position < 0 || position + target.length > byteLength) {
        throw new WhisperError(
          'model_corrupt',
          `${path}: ${what} needs bytes ${position} to ${position + target.length}, the file has ${byteLength}`,
        );
      }
      let filled = 0;
      while (filled < target.length) {
        const count = readSync(descriptor, target, filled, target.length - filled, position + filled);
        if (count === 0) throw new WhisperError('model_corrupt', `${path}: ended at byte ${position + filled} while reading ${what}`);
        filled += count;
      }
    },
    close() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
}

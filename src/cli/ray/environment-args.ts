// Limits and origins that WHISPER_* variables set, as `args` of an application: a Ray that somebody else started does not have the
// variables.

import { CommandError } from '../command-error.ts';

export interface EnvironmentArgs {
  /** Of the application itself. */
  readonly args: Readonly<Record<string, unknown>>;
  /** Below `server`. */
  readonly serverArgs: Readonly<Record<string, unknown>>;
}

type Read = (text: string, variable: string) => unknown;

const count: Read = (text, variable) => {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  throw new CommandError(`${variable} is "${text}": expected a whole number from 1 on.`);
};

const list: Read = (text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

/** Keys as in python/whisper_serve/arguments.py, variables as in `serve --help`. */
const ARGS: Readonly<Record<string, readonly [string, Read]>> = {
  WHISPER_DEVICE_MEMORY: ['device_memory_mb', count],
  WHISPER_MAX_BATCH: ['max_batch', count],
  WHISPER_MAX_QUEUE: ['max_queue', count],
  WHISPER_LOG_LEVEL: ['log_level', String],
};
const SERVER_ARGS: Readonly<Record<string, readonly [string, Read]>> = {
  WHISPER_MAX_SESSIONS: ['max_sessions', count],
  // an empty or false one is gone by now, see removeUnset
  WHISPER_ADMIT_ALL: ['admit_all', () => true],
  WHISPER_ALLOWED_ORIGINS: ['allowed_origins', list],
  WHISPER_MAX_FILES: ['max_files', count],
  WHISPER_MAX_UPLOAD_MB: ['max_upload_mb', count],
  WHISPER_MAX_AUDIO_SECONDS: ['max_audio_seconds', count],
  WHISPER_MAX_STREAM_SECONDS: ['max_stream_seconds', count],
};

export function environmentArgs(variables: Readonly<Record<string, string | undefined>>): EnvironmentArgs {
  const read = (table: typeof ARGS): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(table).flatMap(([variable, [key, parse]]) => {
        const text = variables[variable];
        return text === undefined ? [] : [[key, parse(text, variable)]];
      }),
    );
  return { args: read(ARGS), serverArgs: read(SERVER_ARGS) };
}

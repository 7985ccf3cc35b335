// Options that several commands share, each also settable by an environment variable WHISPER_*.

import { InvalidArgumentError, Option } from 'commander';
import type { DeviceWish } from '../engine/device.ts';
import { defaultCacheDir } from './environment.ts';

/** An option that takes a whole number from `minimum` to `maximum`. */
export function integerOption(flags: string, description: string, minimum: number, maximum: number): Option {
  return new Option(flags, description).argParser((text: string) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < minimum || value > maximum) {
      throw new InvalidArgumentError(`Expected a whole number from ${minimum} to ${maximum}.`);
    }
    return value;
  });
}

/** An option that takes a comma-separated list, or is given several times. */
export function listOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text: string, former: readonly string[] | undefined) => [
    ...(former ?? []),
    ...text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  ]);
}

/** Variables of the options that take no value. */
export const FLAG_VARIABLES = ['WHISPER_QUIET', 'WHISPER_WORD_TIMESTAMPS', 'WHISPER_ADMIT_ALL', 'WHISPER_UNTIL_STDIN_ENDS'] as const;

/** An option that is given or not; of its variable, 0 and false mean that it is not (see removeUnset). */
export function flagOption(flags: string, description: string, variable: (typeof FLAG_VARIABLES)[number]): Option {
  return new Option(flags, description).env(variable).default(false);
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];
const MAX_PORT = 65_535;
const MAX_THREADS = 256;
const MAX_ENGINES = 64;
const MAX_BATCH = 256;
const MAX_MEMORY_MIB = 1 << 20;

export const cacheOption = (): Option =>
  new Option('--cache <dir>', 'folder of downloaded models and built graphs')
    .env('WHISPER_CACHE')
    .default(defaultCacheDir(), "the user's cache folder");

export const quietOption = (): Option => flagOption('-q, --quiet', 'no progress and no messages, errors only', 'WHISPER_QUIET');

/** What choosing and loading a model takes; see ModelOptions. */
export const modelOptions = (): Option[] => [
  new Option('-m, --model <name>', 'model name, hub repository (owner/name) or folder').env('WHISPER_MODEL').default('base'),
  new Option('--device <device>', 'what computes: cpu, an NVIDIA GPU (cuda), any GPU (webgpu); auto takes cuda where it works, else cpu')
    .choices(['auto', 'cpu', 'cuda', 'webgpu'])
    .env('WHISPER_DEVICE')
    .default('auto'),
  integerOption(
    '--device-memory <MiB>',
    "memory of the GPU to use (default: 80 % of what is free, as NVIDIA's driver says, else 4096)",
    256,
    MAX_MEMORY_MIB,
  ).env('WHISPER_DEVICE_MEMORY'),
  new Option(
    '--device-share <share>',
    'part of the GPU that is for this process, where others have the rest: of its memory 80 % of that at most',
  )
    .argParser(parseShare)
    .env('WHISPER_DEVICE_SHARE'),
  integerOption(
    '--engines <n>',
    'windows computed side by side, each by its own copy of the model (default: the cores over --threads, at most 4; 2 on a GPU)',
    1,
    MAX_ENGINES,
  ).env('WHISPER_ENGINES'),
  integerOption('--threads <n>', 'threads of one engine: more answer a window sooner, but fewer windows in all', 1, MAX_THREADS)
    .env('WHISPER_THREADS')
    .default(1),
  new Option('--precision <type>', 'number format of the weights; auto: int8 on cpu, float16 on a GPU that has it, else float32')
    .choices(['auto', 'int8', 'float16', 'float32'])
    .env('WHISPER_PRECISION')
    .default('auto'),
  integerOption('--max-batch <n>', 'most windows that one engine decodes together (default: 4, 32 on a GPU)', 1, MAX_BATCH).env(
    'WHISPER_MAX_BATCH',
  ),
  cacheOption(),
];

function parseShare(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value > 0 && value <= 1)) throw new InvalidArgumentError('Expected a number above 0, at most 1.');
  return value;
}

/** As commander gives `modelOptions`. */
export interface ModelOptions {
  readonly model: string;
  readonly device: DeviceWish['device'];
  /** MiB */
  readonly deviceMemory?: number;
  /** Above 0, at most 1. */
  readonly deviceShare?: number;
  readonly engines?: number;
  readonly threads: number;
  readonly precision: DeviceWish['precision'];
  readonly maxBatch?: number;
  readonly cache: string;
}

/** Where a service listens, what it logs, how it ends; see ListenOptions. */
export const listenOptions = (defaults: { readonly host: string; readonly port: number }): Option[] => [
  new Option('--host <address>', 'address to listen on').env('WHISPER_HOST').default(defaults.host),
  integerOption('-p, --port <n>', 'port to listen on, 0 takes a free one', 0, MAX_PORT).env('WHISPER_PORT').default(defaults.port),
  new Option('--socket <path>', 'listen on this Unix socket instead; the file must not exist').env('WHISPER_SOCKET'),
  integerOption('--shutdown-seconds <n>', 'what still runs so long after SIGTERM is cut off', 0, 3600)
    .env('WHISPER_SHUTDOWN_SECONDS')
    .default(30),
  flagOption(
    '--until-stdin-ends',
    'end at once when standard input does: whoever holds it open leaves no orphan',
    'WHISPER_UNTIL_STDIN_ENDS',
  ),
  new Option('--log-level <level>', 'JSON log lines on standard output from this level on')
    .choices(LOG_LEVELS)
    .env('WHISPER_LOG_LEVEL')
    .default('info'),
];

/** As commander gives `listenOptions`. */
export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly socket?: string;
  readonly shutdownSeconds: number;
  readonly untilStdinEnds: boolean;
  readonly logLevel: string;
}

/** The log that the options ask for. */
export const logOf = ({ logLevel }: ListenOptions): { readonly level: string } | null =>
  logLevel === 'silent' ? null : { level: logLevel };

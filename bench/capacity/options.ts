// What a capacity run does: the command line, with its help.

import { parseArgs } from 'node:util';

export const SYSTEM_NAMES = ['ours', 'ray', 'naive', 'whisperlive'] as const;
export type SystemName = (typeof SYSTEM_NAMES)[number];
const DEFAULT_SYSTEMS: readonly SystemName[] = ['ours', 'naive', 'whisperlive'];

/** The service in one process, or the same on a local Ray: one protocol, and text that does not depend on its pace. */
export const isService = (name: string): boolean => name === 'ours' || name === 'ray';

export interface CapacityOptions {
  /** Folders with a manifest.jsonl. */
  readonly corpora: readonly string[];
  readonly systems: readonly SystemName[];
  /** Numbers of streams, rising. */
  readonly streams: readonly number[];
  readonly peerStreams: readonly number[];
  /** Audio of each stream; a stream ends at a clip's end, so it is a little less. */
  readonly seconds: number;
  readonly chunkSeconds: number;
  readonly overlapSeconds: number;
  readonly model: string;
  readonly threads: number;
  /** CTranslate2 weights of the peers; null: those of the service. */
  readonly referenceModel: string | null;
  /** Beam of the naive recipe. */
  readonly naiveBeam: 1 | 5;
  /** WhisperLive's batch mode instead of one shared model behind a lock. */
  readonly whisperLiveBatch: boolean;
  /** More options of `serve`. */
  readonly serverArgs: readonly string[];
  readonly mode: 'steps' | 'overload' | 'soak';
  /** Times the admissible load that the overload's second phase offers. */
  readonly overloadFactor: number;
  /** Time from one stream to the next while the overload looks for the first refusal. */
  readonly rampSeconds: number;
  /** Most streams that the overload opens in its first phase. */
  readonly maxStreams: number;
  readonly soakMinutes: number;
  readonly out: string | null;
}

const HELP = `npm run bench:capacity -- [options]        (run npm run build first: the server is started from dist/)

Paced streams of real speech through real sockets, more and more of them: word error rate, latency of final words, processor time,
memory and refusals at each number, for the service and its peers, each system alone. Writes JSON and a plot into bench/results/.
Needs Linux, python3 and PyPI (WhisperLive installs into .cache; where that fails it is left out).

  --corpus FOLDER       folder with manifest.jsonl; may be given several times (default ../shared/corpus)
  --systems A,B         of ${SYSTEM_NAMES.join(', ')} (default all but ray, which is the service on a local Ray)
  --streams A,B,C       numbers of streams of the service (default 1,2,4,8,16,24,32)
  --streams-peer A,B    numbers of streams of the peers (default 1,2,3,4,6,8,12,16); a peer is tried no
                        further when a step was late
  --seconds N           audio of each stream (default 90)
  --chunk N --overlap N chunk_duration and overlap (default 5 and 0.5)
  --model NAME          (default base)
  --threads N           of the service and of the peers (default 2)
  --reference-model FOLDER   CTranslate2 weights for the peers (default: those of the service)
  --naive-beam 1|5      faster-whisper's beam in the naive recipe (default 1, the cheaper)
  --whisperlive-mode batch|single   (default batch)
  --server-arg=ARG      one more argument of serve, e.g. --server-arg=--max-sessions=4; may be given several times
  --out FILE            the JSON result (default bench/results/DATE-COMMIT-capacity.json); the plot goes beside it

  --overload FACTOR     instead: opens streams until the first refusal, then offers FACTOR times as many at once
  --ramp-seconds N      from one stream to the next in its first phase (default 5)
  --max-streams N       most streams of its first phase (default 64)
  --soak MINUTES        instead: as many streams as --streams says, for so long, in buckets of a minute
  --help`;

const OPTIONS = {
  corpus: { type: 'string', multiple: true },
  systems: { type: 'string' },
  streams: { type: 'string' },
  'streams-peer': { type: 'string' },
  seconds: { type: 'string' },
  chunk: { type: 'string' },
  overlap: { type: 'string' },
  model: { type: 'string' },
  threads: { type: 'string' },
  'reference-model': { type: 'string' },
  'naive-beam': { type: 'string' },
  'whisperlive-mode': { type: 'string' },
  'server-arg': { type: 'string', multiple: true },
  out: { type: 'string' },
  overload: { type: 'string' },
  'ramp-seconds': { type: 'string' },
  'max-streams': { type: 'string' },
  soak: { type: 'string' },
  help: { type: 'boolean' },
} as const;

function numberOf(name: string, text: string | undefined, fallback: number, isGood: (value: number) => boolean): number {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isFinite(value) || !isGood(value)) throw new Error(`--${name}: got ${text}`);
  return value;
}

const isPositive = (value: number): boolean => value > 0;
const isCount = (value: number): boolean => Number.isInteger(value) && value > 0;

function countsOf(name: string, text: string | undefined, fallback: readonly number[]): readonly number[] {
  const counts = text?.split(',').map((item) => numberOf(name, item, 0, isCount)) ?? fallback;
  return [...new Set(counts)].sort((a, b) => a - b);
}

function oneOf<Value extends string>(name: string, text: string, values: readonly Value[]): Value {
  const value = values.find((known) => known === text);
  if (value === undefined) throw new Error(`--${name}: ${text} is none of ${values.join(', ')}`);
  return value;
}

/** Help was asked for and is returned to be printed, or the options. */
export function parseCapacityOptions(args: readonly string[]): { options: CapacityOptions } | { help: string } {
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  if (values.help === true) return { help: HELP };
  if (values.overload !== undefined && values.soak !== undefined) throw new Error('--overload and --soak are two runs: give one of them');
  const mode = values.overload !== undefined ? 'overload' : values.soak !== undefined ? 'soak' : 'steps';
  const streams = countsOf('streams', values.streams, [1, 2, 4, 8, 16, 24, 32]);
  if (mode === 'soak' && streams.length !== 1) throw new Error('--soak: give --streams one number');
  return {
    options: {
      corpora: values.corpus ?? ['../shared/corpus'],
      systems: values.systems?.split(',').map((name) => oneOf('systems', name, SYSTEM_NAMES)) ?? DEFAULT_SYSTEMS,
      streams,
      peerStreams: countsOf('streams-peer', values['streams-peer'], [1, 2, 3, 4, 6, 8, 12, 16]),
      seconds: numberOf('seconds', values.seconds, 90, isPositive),
      chunkSeconds: numberOf('chunk', values.chunk, 5, isPositive),
      overlapSeconds: numberOf('overlap', values.overlap, 0.5, (value) => value >= 0),
      model: values.model ?? 'base',
      threads: numberOf('threads', values.threads, 2, isCount),
      referenceModel: values['reference-model'] ?? null,
      naiveBeam: oneOf('naive-beam', values['naive-beam'] ?? '1', ['1', '5']) === '1' ? 1 : 5,
      whisperLiveBatch: oneOf('whisperlive-mode', values['whisperlive-mode'] ?? 'batch', ['batch', 'single']) === 'batch',
      serverArgs: values['server-arg'] ?? [],
      mode,
      overloadFactor: numberOf('overload', values.overload, 2, isPositive),
      rampSeconds: numberOf('ramp-seconds', values['ramp-seconds'], 5, isPositive),
      maxStreams: numberOf('max-streams', values['max-streams'], 64, isCount),
      soakMinutes: numberOf('soak', values.soak, 30, isPositive),
      out: values.out ?? null,
    },
  };
}

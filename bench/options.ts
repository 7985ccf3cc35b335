// What a benchmark run does: the command line, with its help.

import { parseArgs } from 'node:util';

export const CLIP_SETS = ['short', 'long', 'noisy', 'hard', 'lang', 'nonspeech'] as const;
export type ClipSet = (typeof CLIP_SETS)[number];

export interface BenchOptions {
  /** Folders with a manifest.jsonl. */
  readonly corpora: readonly string[];
  readonly sets: readonly ClipSet[];
  /** A few clips of each set instead of all. */
  readonly quick: boolean;
  /** Where the JSON goes; null: bench/results/, named by date and commit. */
  readonly out: string | null;
  /** A server that runs already; its processor time and memory are then not measured. */
  readonly url: string | null;
  /** Folder with model.bin for faster-whisper; null: the server's own, from `models path`. */
  readonly referenceModel: string | null;
  readonly model: string;
  readonly threads: number;
  /** Exit 1 when a target is missed. */
  readonly strict: boolean;
}

const HELP = `npm run bench -- [options]        (run npm run build first: the server is started from dist/)

Streams and posts the clips of a corpus to the service, runs faster-whisper 1.2.1 beside it on the same weights
(int8, as many threads), scores both, prints a table and writes JSON. Needs python3 and PyPI at the first run.

  --corpus FOLDER     folder with manifest.jsonl; may be given several times (default ../shared/corpus)
  --sets A,B          of ${CLIP_SETS.join(', ')} (default all)
  --quick             a few clips of each set: minutes instead of an hour
  --out FILE          the JSON result (default bench/results/DATE-COMMIT.json)
  --url URL           measure a server that runs already, instead of starting one
  --model NAME        (default base)
  --threads N         for the service and for faster-whisper (default 2)
  --reference-model FOLDER   CTranslate2 weights for faster-whisper (default: those of the service)
  --strict            exit 1 when a target is missed
  --help`;

/** Null: help was asked for and is returned to be printed. */
export function parseBenchOptions(args: readonly string[]): { options: BenchOptions } | { help: string } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      corpus: { type: 'string', multiple: true },
      sets: { type: 'string' },
      quick: { type: 'boolean' },
      out: { type: 'string' },
      url: { type: 'string' },
      model: { type: 'string' },
      threads: { type: 'string' },
      'reference-model': { type: 'string' },
      strict: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) return { help: HELP };
  const sets = values.sets?.split(',') ?? CLIP_SETS;
  for (const set of sets) {
    if (!(CLIP_SETS as readonly string[]).includes(set)) throw new Error(`--sets: ${set} is none of ${CLIP_SETS.join(', ')}`);
  }
  const threads = Number(values.threads ?? 2);
  if (!Number.isInteger(threads) || threads < 1) throw new Error(`--threads: expected a whole number from 1, got ${values.threads}`);
  return {
    options: {
      corpora: values.corpus ?? ['../shared/corpus'],
      sets: sets as readonly ClipSet[],
      quick: values.quick ?? false,
      out: values.out ?? null,
      url: values.url ?? null,
      referenceModel: values['reference-model'] ?? null,
      model: values.model ?? 'base',
      threads,
      strict: values.strict ?? false,
    },
  };
}

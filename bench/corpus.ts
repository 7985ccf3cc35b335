// The clips of a corpus: its manifest.jsonl, and which of them a run takes.

import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { BenchOptions, ClipSet } from './options.ts';

export interface Clip {
  readonly set: ClipSet;
  /** As in the manifest. */
  readonly name: string;
  /** Absolute path. */
  readonly file: string;
  /** ISO 639-1; null where nothing is said. */
  readonly language: string | null;
  readonly seconds: number;
  readonly text: string;
  readonly expect: string | null;
}

/** Longer clips repeat the audio of others, and would take the run's time for themselves. */
const LONG_LIMIT_SECONDS = 300;
/** Seconds of audio of each set that --quick takes, shortest clips first. */
const QUICK_SECONDS: Readonly<Record<ClipSet, number>> = { short: 60, long: 150, noisy: 60, hard: 150, lang: 60, nonspeech: 120 };

interface ManifestLine {
  readonly file: string;
  readonly kind: string;
  readonly language: string | null;
  readonly seconds: number | null;
  readonly text: string | null;
  readonly expect?: string;
}

export async function readManifest(folder: string): Promise<ManifestLine[]> {
  const text = await readFile(join(folder, 'manifest.jsonl'), 'utf8');
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as ManifestLine);
}

export async function benchClips(options: Pick<BenchOptions, 'corpora' | 'sets' | 'quick'>): Promise<Clip[]> {
  const clips: Clip[] = [];
  for (const folder of options.corpora) {
    for (const line of await readManifest(folder)) {
      const set = line.kind as ClipSet;
      if (!options.sets.includes(set) || line.seconds === null) continue;
      if (set === 'long' && line.seconds >= LONG_LIMIT_SECONDS) continue;
      const file = resolve(folder, line.file);
      clips.push({
        set,
        name: line.file,
        file,
        language: line.language,
        seconds: line.seconds,
        text: line.text ?? '',
        expect: line.expect ?? null,
      });
    }
  }
  return options.quick
    ? options.sets.flatMap((set) =>
        quickClips(
          clips.filter((clip) => clip.set === set),
          QUICK_SECONDS[set],
        ),
      )
    : clips;
}

function quickClips(clips: readonly Clip[], limitSeconds: number): Clip[] {
  let total = 0;
  return [...clips]
    .sort((a, b) => a.seconds - b.seconds)
    .filter((clip, index) => {
      if (index > 0 && total + clip.seconds > limitSeconds) return false;
      total += clip.seconds;
      return true;
    });
}

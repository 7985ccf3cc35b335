// Decodes the windows of a file: independent ones side by side, chained ones after each other, by the rules of live streams.

import { SAMPLE_RATE, toSamples } from '../core/units.ts';
import type { Task, TranscribeRequest, TranscribeResult } from '../engine/transcriber.ts';
import { Anchors } from './anchors.ts';
import { commitAll, commitWords, placeWords, type TimedWord } from './commit.ts';
import { type FileWindow, WINDOW_LIMIT_SECONDS } from './file-windows.ts';
import type { LanguageLock } from './language-lock.ts';

/** Committed audio that a chained window begins with, at most. */
export const FILE_LEFT_SAMPLES = 8 * SAMPLE_RATE;
/** What a window that ends hard may leave to its successor, at most. */
export const FILE_HELD_SAMPLES = 4 * SAMPLE_RATE;
/** Words that end this close to a hard end are left to the successor. */
const FILE_OVERLAP_SAMPLES = SAMPLE_RATE;
/** Doubtful words this close to a hard end as well. */
const FILE_DOUBT_SAMPLES = 3 * SAMPLE_RATE;

export interface FileDecoderOptions {
  readonly language: LanguageLock;
  readonly task: Task;
  readonly promptText: string;
  /** Names the file to the transcriber. */
  readonly owner: string;
  transcribe(request: TranscribeRequest): Promise<TranscribeResult>;
}

interface Decoded {
  readonly kept: readonly TimedWord[];
  readonly committedUntil: number;
  readonly anchors: Anchors;
}

export class FileDecoder {
  readonly #options: FileDecoderOptions;
  #previous: Promise<Decoded> | null = null;

  constructor(options: FileDecoderOptions) {
    this.#options = options;
  }

  /**
   * The final words of the next window, in order. Call it with the windows in order; it need not be awaited in between.
   * @param pcm [pcmStart, window.end); for a chained window with the audio that its anchors and held-back words are in
   */
  decode(window: FileWindow, pcm: Float32Array, pcmStart: number): Promise<readonly TimedWord[]> {
    const previous = window.isChained ? this.#previous : null;
    const decoded = this.#decode(window, pcm, pcmStart, previous);
    this.#previous = window.endsClean ? null : decoded;
    return decoded.then(({ kept }) => kept);
  }

  async #decode(window: FileWindow, pcm: Float32Array, pcmStart: number, previous: Promise<Decoded> | null): Promise<Decoded> {
    const { language, task, promptText, owner, transcribe } = this.#options;
    const before = await previous;
    const anchors = before?.anchors ?? new Anchors(FILE_LEFT_SAMPLES);
    const committedUntil = before?.committedUntil ?? window.start;
    const { end } = window;
    const { start, prefix } = anchors.plan(committedUntil, end, toSamples(WINDOW_LIMIT_SECONDS));
    const span = { start, committedUntil, end };
    const result = await transcribe({
      pcm: start === pcmStart ? pcm : pcm.slice(start - pcmStart),
      language: language.language,
      task,
      promptText,
      prefix,
      prefixSamples: committedUntil - start,
      priority: 'file',
      owner,
    });
    language.observe(result);
    const words = placeWords(result, span, anchors.last);
    const rules = {
      overlapSamples: FILE_OVERLAP_SAMPLES,
      doubtSamples: FILE_DOUBT_SAMPLES,
      regionLimitSamples: FILE_HELD_SAMPLES,
      nextEnd: () => end,
    };
    const commit = window.endsClean ? commitAll(words, span) : commitWords(words, span, rules);
    anchors.commit(commit.kept, commit.committedUntil);
    return { kept: commit.kept, committedUntil: commit.committedUntil, anchors };
  }
}

// Plans a whole file: skips what is not speech and cuts the rest into windows, at pauses where there are any. Pure; works as it comes in.

import { SAMPLE_RATE } from '../core/units.ts';
import { DETECTOR_FRAME_SAMPLES, SPEECH_FRAMES_MINIMUM } from './speech-gate.ts';

/** A stretch of the file to decode, in samples. */
export interface FileWindow {
  readonly start: number;
  readonly end: number;
  /** It goes on where a window ended hard: its decode begins where that one's words end, with its last words as anchors. */
  readonly isChained: boolean;
  /** It ends in a pause: all its words are final. Otherwise it ends hard, and the next window is chained to it. */
  readonly endsClean: boolean;
}

const inFrames = (seconds: number): number => Math.floor((seconds * SAMPLE_RATE) / DETECTOR_FRAME_SAMPLES);

/** A window with its left context; room for the engine's silent margin. */
export const WINDOW_LIMIT_SECONDS = 28;
/** A chained window also holds what its predecessor held back (4 s) and its words as anchors. */
const CHAINED_LIMIT_FRAMES = inFrames(20);
const LIMIT_FRAMES = inFrames(WINDOW_LIMIT_SECONDS);
/** A pause that no window reaches across: decoders tend to stop at it. */
const LONG_PAUSE_FRAMES = inFrames(2);
/** The shortest pause that separates two windows. */
const CLEAN_PAUSE_FRAMES = inFrames(0.3);
/** Kept of the pause on both sides of speech: detectors find onsets late. */
const PAD_FRAMES = inFrames(0.3);
/** How much lower than the threshold a frame may fall while speech goes on. */
const HYSTERESIS = 0.15;

interface Pause {
  /** Frames. */
  readonly start: number;
  readonly end: number;
}

export class FileWindowPlanner {
  readonly #threshold: number;
  /** Scores of the frames from #base on. */
  #scores: number[] = [];
  #base = 0;
  /** First frame that belongs to no window yet. */
  #cursor = 0;
  #isChained = false;
  #totalSamples: number | null = null;

  /** @param speechThreshold score (0-1) from which a frame is speech */
  constructor(speechThreshold: number) {
    this.#threshold = speechThreshold;
  }

  /** First sample that belongs to no window yet; nothing before it will begin one. */
  get plannedUntil(): number {
    return this.#cursor * DETECTOR_FRAME_SAMPLES;
  }

  /** Scores of the next frames of 512 samples. */
  push(scores: ArrayLike<number>): void {
    for (let i = 0; i < scores.length; i++) this.#scores.push(scores[i]!);
  }

  /** No more will come. */
  end(totalSamples: number): void {
    this.#totalSamples = totalSamples;
  }

  /** The next window, or null: more scores are needed, or all is planned. */
  next(): FileWindow | null {
    const isOver = this.#totalSamples !== null;
    const known = this.#base + this.#scores.length;
    const firstSpeech = this.#isChained ? this.#cursor : this.#findSpeech(this.#cursor, known);
    if (firstSpeech >= known) {
      // Frames that a later onset's padding or minimum length may still want stay.
      this.#moveTo(Math.max(this.#cursor, known - PAD_FRAMES - SPEECH_FRAMES_MINIMUM));
      return null;
    }
    const start = this.#isChained ? this.#cursor : Math.max(this.#cursor, firstSpeech - PAD_FRAMES);
    const limit = start + (this.#isChained ? CHAINED_LIMIT_FRAMES : LIMIT_FRAMES);
    if (!isOver && known < limit + LONG_PAUSE_FRAMES) return null;
    return this.#cutAt(start, this.#findEnd(start, firstSpeech, limit, known));
  }

  #findEnd(start: number, firstSpeech: number, limit: number, known: number): { at: number; isClean: boolean } {
    const pauses = this.#pauses(firstSpeech, Math.min(known, limit + LONG_PAUSE_FRAMES), known).filter((pause) => pause.start < limit);
    const afterPad = (pause: Pause): number => Math.min(pause.start + PAD_FRAMES, Math.ceil((pause.start + pause.end) / 2), limit);
    const long = pauses.find((pause) => pause.end - pause.start >= LONG_PAUSE_FRAMES || (pause.end === known && known <= limit));
    if (long !== undefined)
      return { at: long.end === known ? Math.min(long.start + PAD_FRAMES, known, limit) : afterPad(long), isClean: true };
    if (known <= limit) return { at: known, isClean: true };
    const third = Math.floor((limit - start) / 3);
    for (const from of [limit - third, limit - 2 * third]) {
      const longest = longestOf(pauses.map((pause) => ({ start: Math.max(pause.start, from), end: Math.min(pause.end, limit) })));
      if (longest !== undefined && longest.end - longest.start >= CLEAN_PAUSE_FRAMES) return { at: afterPad(longest), isClean: true };
    }
    return { at: this.#quietest(limit - third, limit), isClean: false };
  }

  #cutAt(start: number, { at, isClean }: { at: number; isClean: boolean }): FileWindow {
    const total = this.#totalSamples ?? Number.POSITIVE_INFINITY;
    const window: FileWindow = {
      start: start * DETECTOR_FRAME_SAMPLES,
      end: Math.min(total, at * DETECTOR_FRAME_SAMPLES),
      isChained: this.#isChained,
      endsClean: isClean,
    };
    this.#isChained = !isClean;
    this.#moveTo(at);
    return window;
  }

  #moveTo(frame: number): void {
    this.#cursor = frame;
    // Amortised: an hour has 112 500 frames.
    if (frame - this.#base > 4 * LIMIT_FRAMES) {
      this.#scores = this.#scores.slice(frame - this.#base);
      this.#base = frame;
    }
  }

  #score(frame: number): number {
    return this.#scores[frame - this.#base]!;
  }

  /** First frame from `from` on of a stretch of speech that is long enough; `known` if there is none. */
  #findSpeech(from: number, known: number): number {
    for (let frame = from; frame + SPEECH_FRAMES_MINIMUM <= known; frame++) {
      let run = 0;
      while (run < SPEECH_FRAMES_MINIMUM && this.#score(frame + run) >= this.#threshold) run++;
      if (run === SPEECH_FRAMES_MINIMUM) return frame;
    }
    return known;
  }

  /** The pauses between `from`, taken for speech, and `to`; the last may reach to `known`. */
  #pauses(from: number, to: number, known: number): Pause[] {
    const pauses: Pause[] = [];
    for (let frame = from; frame < to; ) {
      while (frame < to && this.#score(frame) >= this.#threshold - HYSTERESIS) frame++;
      if (frame >= to) break;
      const end = this.#findSpeech(frame, known);
      pauses.push({ start: frame, end });
      frame = end;
    }
    return pauses;
  }

  /** The middle of the 0.3 s with the lowest mean score. */
  #quietest(from: number, to: number): number {
    let sum = 0;
    let best = Number.POSITIVE_INFINITY;
    let at = to;
    for (let frame = from; frame < to; frame++) {
      sum += this.#score(frame);
      if (frame >= from + CLEAN_PAUSE_FRAMES) sum -= this.#score(frame - CLEAN_PAUSE_FRAMES);
      if (frame < from + CLEAN_PAUSE_FRAMES - 1 || sum > best) continue;
      best = sum;
      at = frame + 1 - Math.floor(CLEAN_PAUSE_FRAMES / 2);
    }
    return at;
  }
}

function longestOf(pauses: readonly Pause[]): Pause | undefined {
  let longest: Pause | undefined;
  for (const pause of pauses) if (longest === undefined || pause.end - pause.start > longest.end - longest.start) longest = pause;
  return longest;
}

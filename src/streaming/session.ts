// The session state machine of one live stream: samples in, steps out, results in, events out. Pure: no timers, promises or I/O.
//
// Data flow
//   push(pcm) -> SampleBuffer -> next(): gate step (is there speech?) -> decode step (anchored window) -> decodeResult
//   decodeResult -> placeWords (the engine's times on the stream's clock) -> commitWords (hold-back) -> tile (ledger) -> events
//
// Window k reaches to max(end of window k-1 + 1 s, committedUntil + chunk). It begins at the first committed word of the last 5 s;
// the decoder is forced through those words (anchors) and then hears the region [committedUntil, end) freely. Words that end within
// the overlap at its end are held back and heard again. A flush (finalize, end) ends the window at the samples received so far
// and commits all of it.
//
// Where a decode ends early and the detector finds speech after its last word, the words are committed, and what follows them is heard
// again in a window of its own, without the words before.
//
// What was heard of the region goes with the next request as its draft: where the engine hears the same again, it need not find it
// token by token. A final's draft is the words held back, a partial's whatever was heard last.
//
// Invariants (session.test.ts proves them for any frame sizes, options, flushes and results)
//   1. Finals and no_speech spans tile [0, committedUntil) in order; committedUntil never goes back; at a flush it equals the flush.
//   2. What becomes final depends on the samples, the positions of the flushes, the results and the effort that the engines have room
//      for: a window is planned when all its samples are there, so audio that comes paced and audio that comes at once take the same path.
//   3. Partials read the state and never write what finals depend on. Nor do their words draft a final: int8 kernels round otherwise
//      for several tokens than for one, so that a draft may tip a near tie, and whether there was a partial is a matter of pace.
//   4. At most one final window is outstanding; a partial is given up when the next final window can be planned.
//   5. Memory: the left context, the uncommitted region (at most chunk + 4 s) and what waits behind the window that is out.

import { SAMPLE_RATE } from '../core/units.ts';
import type { TranscribeRequest, TranscribeResult } from '../engine/transcriber.ts';
import { Anchors } from './anchors.ts';
import { type Commit, commitAll, commitWords, doubtSamples, placeWords, type TimedWord } from './commit.ts';
import { EventWriter } from './event-writer.ts';
import { LanguageLock } from './language-lock.ts';
import { SampleBuffer } from './sample-buffer.ts';
import type { DecodeStep, Effort, EmitStep, GateStep, Pace, SessionEvent, SessionOptions, Step, StreamWindow } from './session-types.ts';
import { hasSpeech, isSilent, speechFrames } from './speech-gate.ts';

/** Committed audio that a window may begin with. ARCHITECTURE.md, "Anchored windows", has other lengths. */
const LEFT_SAMPLES = 5 * SAMPLE_RATE;
/** Committed audio that a partial begins with: it is soon replaced. */
const PARTIAL_LEFT_SAMPLES = 2 * SAMPLE_RATE;
/** A window with its left context; leaves room for the engine's silent margin of 2 s. */
const WINDOW_LIMIT_SAMPLES = 28 * SAMPLE_RATE;
/** A window reaches at least this much further than the one before; so does a partial, and further when it is told so. */
const ADVANCE_SAMPLES = SAMPLE_RATE;
/** How far the uncommitted region may outgrow the chunk before held-back words are committed all the same. */
const PATIENCE_SAMPLES = 4 * SAMPLE_RATE;
/** A flushed region shorter than this holds no word. */
const SHORTEST_REGION_SAMPLES = SAMPLE_RATE / 10;
/** Audio before the region that warms the detector up. */
const GATE_CONTEXT_SAMPLES = 0.3 * SAMPLE_RATE;
/** Left uncommitted at the end of a region without speech: the onset of a word may be in it. */
const SILENCE_GUARD_SAMPLES = SAMPLE_RATE / 2;
/** Speech found (32 ms a frame) in audio of this length for which the decoder had no words: it was missed, and is heard again. */
const MISSED_FRAMES = 16;
const MISSED_SAMPLES = 1.2 * SAMPLE_RATE;
/** Language probability at which one window decides. */
const LANGUAGE_CONFIDENCE = 0.6;

const UNHURRIED: Pace = { partialIntervalSamples: ADVANCE_SAMPLES, effort: 'full' };

interface Work {
  readonly window: StreamWindow;
  stage: 'gate' | 'decode' | 'check';
  /** Handed to the driver, answer awaited. */
  outstanding: boolean;
  /** What the decode came to, while the detector is asked about the audio after its last word. */
  checked: { readonly commit: Commit; readonly language: string; readonly lastEnd: number } | null;
}

const workOn = (window: StreamWindow, stage: Work['stage']): Work => ({ window, stage, outstanding: false, checked: null });

interface Flush {
  readonly at: number;
  readonly ends: boolean;
}

export class Session {
  readonly #options: Required<SessionOptions>;
  readonly #buffer = new SampleBuffer();
  readonly #anchors: Anchors;
  readonly #language: LanguageLock;
  readonly #writer = new EventWriter();
  readonly #flushes: Flush[] = [];
  #committedUntil = 0;
  /** End of the last final window. */
  #previousEnd = 0;
  /** Where the session last looked for something to show: end of a window, or of silence that needed none. */
  #lastLook = 0;
  /** End of the last window that cost work. */
  #lastWork = 0;
  /** Words were sent, as a final or a partial. */
  #hasShown = false;
  /** The next final window begins without the committed words. */
  #isAfresh = false;
  /** The newest guess at the words from committedUntil on, for the next partial. */
  #draft: readonly TimedWord[] = [];
  /** Words that the last final window left to the next. */
  #held: readonly TimedWord[] = [];
  #final: Work | null = null;
  #partial: Work | null = null;
  #state: 'open' | 'ending' | 'over' = 'open';

  constructor(options: SessionOptions) {
    this.#options = {
      useContext: true,
      language: null,
      task: 'transcribe',
      promptText: '',
      interimResults: false,
      owner: '',
      silenceLevelDb: -60,
      speechThreshold: null,
      ...options,
    };
    this.#anchors = new Anchors(this.#options.useContext ? LEFT_SAMPLES : 0);
    this.#language = new LanguageLock(this.#options.language, LANGUAGE_CONFIDENCE);
  }

  get receivedSamples(): number {
    return this.#buffer.end;
  }

  get committedUntil(): number {
    return this.#committedUntil;
  }

  /** Samples that wait behind the final window that is out; 0 when the session only waits for more audio. */
  get backlogSamples(): number {
    return this.#final === null ? 0 : this.#buffer.end - this.#final.window.end;
  }

  /** Samples of memory the buffer takes. */
  get bufferCapacity(): number {
    return this.#buffer.capacity;
  }

  /** Appends samples; copies them. */
  push(pcm: Float32Array): void {
    if (this.#state !== 'open') throw new Error('push after end');
    this.#buffer.append(pcm);
  }

  /** Everything received so far is to become final; a `finalized` event follows. */
  finalize(): void {
    if (this.#state !== 'open') throw new Error('finalize after end');
    this.#flushes.push({ at: this.#buffer.end, ends: false });
  }

  /** As finalize, and the stream takes no more audio; an `end` event follows as the last. */
  end(): void {
    if (this.#state !== 'open') throw new Error('end after end');
    this.#state = 'ending';
    this.#flushes.push({ at: this.#buffer.end, ends: true });
  }

  /**
   * The next thing to do, or null while an answer or more audio is awaited. Call it until it returns null.
   * @param pace what the engines have room for @default all the work that helps, a partial a second
   */
  next({ partialIntervalSamples, effort }: Pace = UNHURRIED): Step | null {
    if (this.#state === 'over') return null;
    if (this.#final === null) {
      const emit = this.#planFinal(effort);
      if (emit !== null) return emit;
    }
    if (this.#final !== null) return this.#handOut(this.#final);
    if (this.#partial === null) this.#planPartial(partialIntervalSamples);
    return this.#partial === null ? null : this.#handOut(this.#partial);
  }

  /** @param speechProbabilities of step.pcm, one for each started 512 samples */
  gateResult(step: GateStep, speechProbabilities: Float32Array): SessionEvent[] {
    const work = this.#answered(step.window);
    if (work === null) return [];
    const threshold = this.#options.speechThreshold ?? 0;
    if (work.checked !== null) {
      const { commit, language, lastEnd } = work.checked;
      if (speechFrames(speechProbabilities, step.contextSamples, threshold) < MISSED_FRAMES)
        return this.#commit(step.window, commit, language);
      this.#isAfresh = true;
      // Words without any length could not be shown on the ledger: they are heard again with the rest.
      const kept = lastEnd > step.window.committedUntil ? commit.kept : [];
      return this.#commit(step.window, { kept, held: [], committedUntil: lastEnd }, language);
    }
    if (hasSpeech(speechProbabilities, step.contextSamples, threshold)) work.stage = 'decode';
    else if (work === this.#final) return this.#commitSilence(step.window);
    else this.#partial = null;
    return [];
  }

  decodeResult(step: DecodeStep, result: TranscribeResult): SessionEvent[] {
    const { window } = step;
    const work = this.#answered(window);
    if (work === null) return [];
    const words = placeWords(result, window, this.#anchors.last);
    if (work === this.#partial) {
      this.#partial = null;
      return this.#guess(words, this.#language.language ?? result.language);
    }
    this.#language.observe(result);
    this.#lastWork = window.end;
    const commit = window.flush
      ? commitAll(words, window)
      : commitWords(words, window, {
          overlapSamples: this.#options.overlapSamples,
          doubtSamples: doubtSamples(this.#options.chunkSamples),
          regionLimitSamples: Math.min(this.#options.chunkSamples + PATIENCE_SAMPLES, WINDOW_LIMIT_SAMPLES),
          nextEnd: (committedUntil) => this.#nextEnd(window.end, committedUntil),
        });
    const language = this.#language.language ?? result.language;
    const lastEnd = commit.kept.at(-1)?.end ?? window.committedUntil;
    if (this.#mayHaveMissed(window, commit, lastEnd)) {
      work.stage = 'check';
      work.checked = { commit, language, lastEnd };
      return [];
    }
    return this.#commit(window, commit, language);
  }

  /** The decoder, forced through one speaker's words, at times passes over the next one's, as if nothing were said. */
  #mayHaveMissed(window: StreamWindow, { held, committedUntil }: Commit, lastEnd: number): boolean {
    if (window.prefix.length === 0 || held.length > 0 || committedUntil - lastEnd < MISSED_SAMPLES) return false;
    const { silenceLevelDb, speechThreshold } = this.#options;
    if (speechThreshold === null) return false;
    return silenceLevelDb === null || !isSilent(this.#buffer.slice(lastEnd, committedUntil), silenceLevelDb);
  }

  /**
   * The driver gave the step up. A partial is forgotten, and a decode that was only to be checked stands as it is.
   * @returns null where a final is lost: the stream is over, for nothing is passed over in silence
   */
  stepFailed(step: GateStep | DecodeStep): SessionEvent[] | null {
    const work = this.#answered(step.window);
    if (work === null) return [];
    if (work.checked !== null) return this.#commit(step.window, work.checked.commit, work.checked.language);
    if (work === this.#partial) {
      this.#partial = null;
      return [];
    }
    this.#state = 'over';
    return null;
  }

  /** The work that an answer belongs to; null when it was given up meanwhile. */
  #answered(window: StreamWindow): Work | null {
    const work = [this.#final, this.#partial].find((candidate) => candidate?.window === window) ?? null;
    if (work !== null) work.outstanding = false;
    return work;
  }

  #handOut(work: Work): Step | null {
    if (work.outstanding) return null;
    work.outstanding = true;
    const { window } = work;
    if (work.stage === 'decode') return { kind: 'decode', window, request: this.#request(window) };
    const [start, end] = work.checked ? [work.checked.lastEnd, work.checked.commit.committedUntil] : [window.committedUntil, window.end];
    const from = Math.max(this.#buffer.start, start - GATE_CONTEXT_SAMPLES);
    return { kind: 'gate', window, pcm: this.#buffer.slice(from, end), contextSamples: start - from };
  }

  #request(window: StreamWindow): TranscribeRequest {
    return {
      pcm: this.#buffer.slice(window.start, window.end),
      language: this.#language.language,
      task: this.#options.task,
      promptText: this.#options.promptText,
      prefix: window.prefix,
      prefixSamples: window.committedUntil - window.start,
      draft: (window.purpose === 'final' ? this.#held : this.#draft).flatMap((word) => word.tokens),
      searchUntil: this.#searchUntil(window),
      priority: window.purpose,
      owner: this.#options.owner,
    };
  }

  /** What ends later is heard again where it is in doubt, or, long before the end, in much doubt. */
  #searchUntil({ start, end, effort, flush }: StreamWindow): number {
    if (effort === 'reduced') return 0;
    return (flush ? end : end - doubtSamples(this.#options.chunkSamples)) - start;
  }

  #nextEnd(previousEnd: number, committedUntil: number): number {
    return Math.max(previousEnd + ADVANCE_SAMPLES, committedUntil + this.#options.chunkSamples);
  }

  #planFinal(effort: Effort): EmitStep | null {
    const flush = this.#flushes[0];
    const usualEnd = this.#nextEnd(this.#previousEnd, this.#committedUntil);
    // Strictly before: a flush at the very end of a window finds that window already planned when audio comes paced.
    const flushes = flush !== undefined && flush.at < usualEnd;
    if (flushes && flush.at === this.#committedUntil) return { kind: 'emit', events: [this.#finishFlush(flush)] };
    const end = flushes ? flush.at : usualEnd;
    if (end > this.#buffer.end) return null;
    this.#partial = null;
    const window = this.#window('final', end, flushes, effort);
    if (this.#isSilent(window)) return { kind: 'emit', events: this.#commitSilence(window) };
    this.#isAfresh = false;
    this.#final = workOn(window, this.#firstStage());
    return null;
  }

  #planPartial(intervalSamples: number): void {
    const end = this.#buffer.end;
    if (!this.#options.interimResults || intervalSamples === Infinity || end - this.#lastLook < ADVANCE_SAMPLES) return;
    // That somebody listens should show at once; later partials are a matter of what the engine can spare.
    if (this.#hasShown && end - this.#lastWork < intervalSamples) return;
    this.#lastLook = end;
    const window = this.#window('partial', end, false, 'reduced');
    if (this.#isSilent(window)) return;
    this.#lastWork = end;
    this.#partial = workOn(window, this.#firstStage());
  }

  #window(purpose: 'final' | 'partial', end: number, flush: boolean, effort: Effort): StreamWindow {
    const committedUntil = this.#committedUntil;
    const leftSamples = this.#isAfresh ? 0 : purpose === 'final' ? LEFT_SAMPLES : PARTIAL_LEFT_SAMPLES;
    const anchored = this.#anchors.plan(committedUntil, end, WINDOW_LIMIT_SAMPLES, leftSamples);
    return { purpose, committedUntil, end, flush, effort, ...anchored };
  }

  /** Held-back words prove speech: their audio passed the gate before, and a gate that now disagrees must not lose them. */
  #firstStage(): 'gate' | 'decode' {
    return this.#options.speechThreshold === null || this.#held.length > 0 ? 'decode' : 'gate';
  }

  #isSilent({ committedUntil, end }: StreamWindow): boolean {
    if (this.#held.length > 0) return false;
    if (end - committedUntil < SHORTEST_REGION_SAMPLES) return true;
    const { silenceLevelDb } = this.#options;
    return silenceLevelDb !== null && isSilent(this.#buffer.slice(committedUntil, end), silenceLevelDb);
  }

  #commitSilence(window: StreamWindow): SessionEvent[] {
    const guard = window.flush ? 0 : Math.max(SILENCE_GUARD_SAMPLES, this.#options.overlapSamples);
    return this.#commit(window, { kept: [], held: [], committedUntil: Math.max(this.#committedUntil, window.end - guard) }, '');
  }

  #commit(window: StreamWindow, commit: Commit, language: string): SessionEvent[] {
    const events = this.#writer.commit(this.#committedUntil, commit.committedUntil, commit.kept, language);
    this.#anchors.commit(commit.kept, commit.committedUntil);
    this.#committedUntil = commit.committedUntil;
    this.#previousEnd = window.end;
    this.#lastLook = Math.max(this.#lastLook, window.end);
    this.#hasShown ||= commit.kept.length > 0;
    this.#held = commit.held;
    this.#final = null;
    this.#buffer.dropBefore(this.#committedUntil - LEFT_SAMPLES);
    // The words held back are the best guess there is at what comes next; with none, a guess that came to nothing is taken back.
    events.push(...this.#guess(commit.held, language || (this.#language.bestGuess ?? '')));
    return events;
  }

  /** Keeps the words as a draft, and shows them where partials are asked for. */
  #guess(words: readonly TimedWord[], language: string): SessionEvent[] {
    this.#draft = words;
    if (!this.#options.interimResults) return [];
    this.#hasShown ||= words.length > 0;
    return this.#writer.partial(this.#committedUntil, words, language);
  }

  #finishFlush(flush: Flush): SessionEvent {
    this.#flushes.shift();
    if (!flush.ends) return { kind: 'finalized', end: flush.at };
    this.#state = 'over';
    return { kind: 'end', receivedSamples: flush.at, segmentCount: this.#writer.segmentCount };
  }
}

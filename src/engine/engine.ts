// Takes windows as they come, encodes them, decodes them side by side and tries again what came out badly. Runs in an engine's thread.

import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type CrossCache, SelfCache } from './caches.ts';
import type { DecodedText, DecodeJob, RunningWindow, SettledToken } from './decode.ts';
import { DecodeBatch } from './decode-batch.ts';
import type { WindowCost } from './engine-messages.ts';
import { detectLanguages } from './language.ts';
import { type ModelSession, SAMPLES_PER_POSITION } from './model-session.ts';
import {
  type Attempt,
  buildMasks,
  compressionRatio,
  type DecodingRules,
  FIRST_ATTEMPT,
  judge,
  type Masks,
  nextAttempt,
  type Quality,
  settledCount,
  startTokens,
  tokenLimit,
} from './rules.ts';
import { seededRandom } from './sampling.ts';
import type { TranscribeRequest, TranscribeResult, Word } from './transcriber.ts';
import { PRIORITIES } from './window-queue.ts';
import { timedWords } from './words.ts';

/** Windows are padded to multiples of this many positions (0.5 s), so that buffers of few sizes are reused. */
const POSITION_STEP = 25;
/** Room of a greedy batch, in encoder positions: two whole windows of 30 s, or five of 11 s. More gains little and costs 24 kB a position. */
const BATCH_POSITIONS = 3000;
/** Room of a batch with beams: its windows take a row a beam. */
const SEARCH_POSITIONS = 1500;
/** Finals find this much more room: beside the window of a file, which may be three times as long, two of them would not. */
const FINALS_ROOM = 1.5;
/** Most of `<|startofprev|>` text, in tokens (`whisper/decoding.py`: half the context, less one). */
const PROMPT_TOKENS = 223;

export interface EngineOptions {
  readonly rules: DecodingRules;
  /** Most windows of one batch, at least 1. */
  readonly maxBatch: number;
}

export interface Answer {
  readonly result: TranscribeResult;
  readonly cost: WindowCost;
}

interface Candidate {
  readonly attempt: Attempt;
  readonly quality: Quality;
  readonly words: readonly Word[];
}

interface Work {
  readonly request: TranscribeRequest;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  cancelled: boolean;
  attempt: Attempt;
  language: string | null;
  languageProbability: number;
  best: Candidate | null;
  /** First tokens of the next attempt that are kept from the best one. */
  settled: readonly SettledToken[];
  /** The encoded window, where the next attempt decodes it again. */
  encoded: CrossCache | null;
  cost: { -readonly [Key in keyof WindowCost]: WindowCost[Key] };
}

/** A batch and the work that each of its windows is for. */
interface Lane {
  readonly beams: number;
  readonly batch: DecodeBatch;
  readonly room: number;
  readonly works: Map<RunningWindow, Work>;
}

/**
 * Data flow: queue -> encode -> (language) -> join a lane -> steps -> judge -> result, or the queue again with the next attempt.
 *
 * Each turn of the loop starts one window, if one waits and there is room, and makes one step of each lane: windows join what runs,
 * and what runs never waits for more than one of them.
 */
export class Engine {
  readonly #session: ModelSession;
  readonly #tokenizer: Tokenizer;
  readonly #options: EngineOptions;
  readonly #masks: Masks;
  readonly #greedy: Lane;
  readonly #search: Lane;
  readonly #detection: SelfCache;
  #queue: Work[] = [];
  /** The loop, while there is something to do. */
  #running: Promise<void> | null = null;
  /** The cache of a window that was decoded again, for the next such window. */
  #spare: CrossCache | undefined;

  constructor(session: ModelSession, tokenizer: Tokenizer, options: EngineOptions) {
    this.#session = session;
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#masks = buildMasks(session.config, tokenizer);
    this.#detection = new SelfCache(session.shape);
    const lane = (beams: number, room: number): Lane => {
      const { endOfText, noSpeech } = tokenizer.special;
      return { beams, batch: new DecodeBatch(session, { beams, endOfText, noSpeech }), room, works: new Map() };
    };
    this.#greedy = lane(1, BATCH_POSITIONS);
    this.#search = lane(options.rules.beams, SEARCH_POSITIONS);
  }

  /** Queues a window. `cancel` makes its promise stay pending for good: nobody waits for it any more. */
  submit(request: TranscribeRequest): { answer: Promise<Answer>; cancel: () => void } {
    const prefixTokens = request.prefix?.length ?? 0;
    if (prefixTokens > this.#session.config.maxTextPositions / 2) {
      const error = new WhisperError(
        'invalid_parameter',
        `prefix: expected at most half the decoder's positions, got ${prefixTokens} tokens`,
      );
      return { answer: Promise.reject(error), cancel: () => {} };
    }
    let work: Work | undefined;
    const answer = new Promise<Answer>((resolve, reject) => {
      work = {
        request,
        resolve,
        reject,
        cancelled: false,
        attempt: FIRST_ATTEMPT,
        language: this.#session.config.multilingual ? request.language : 'en',
        languageProbability: 1,
        best: null,
        settled: [],
        encoded: null,
        cost: { encodeMs: 0, decodeMs: 0, steps: 0, batchRows: 0, tokens: 0, draftTokens: 0, acceptedTokens: 0, attempts: 0 },
      };
      this.#enqueue(work, 'last');
    });
    this.#running ??= this.#run();
    return {
      answer,
      cancel: () => {
        const queued = work as Work;
        queued.cancelled = true;
        this.#queue = this.#queue.filter((w) => w !== queued);
      },
    };
  }

  /** Gives up what waits and resolves when nothing runs any more. */
  async close(): Promise<void> {
    for (const work of this.#queue) work.cancelled = true;
    this.#queue = [];
    await this.#running;
    await this.#session.close();
  }

  async #run(): Promise<void> {
    const lanes = [this.#greedy, this.#search];
    for (;;) {
      const work = this.#takeNext();
      if (work !== null) await this.#start(work);
      for (const lane of lanes) {
        this.#leave(lane);
        if (lane.works.size > 0) await this.#step(lane);
      }
      if (this.#queue.length === 0 && lanes.every(({ works }) => works.size === 0)) break;
    }
    this.#running = null;
  }

  /** Among those that are as urgent. */
  #enqueue(work: Work, place: 'first' | 'last'): void {
    const urgency = urgencyOf(work);
    const index = this.#queue.findIndex((other) => (place === 'first' ? urgencyOf(other) >= urgency : urgencyOf(other) > urgency));
    this.#queue.splice(index === -1 ? this.#queue.length : index, 0, work);
  }

  #laneOf = ({ attempt }: Work): Lane => (attempt.beams > 1 ? this.#search : this.#greedy);

  /** The first window that finds room. Nothing passes a final that waits for room in the same lane: it would take that room, again and again. */
  #takeNext(): Work | null {
    const blocked = new Set<Lane>();
    const index = this.#queue.findIndex((work) => {
      const lane = this.#laneOf(work);
      if (blocked.has(lane)) return false;
      const isFinal = urgencyOf(work) === 0;
      const fits = this.#fits(work, lane, isFinal ? FINALS_ROOM : 1);
      if (isFinal && !fits) blocked.add(lane);
      return fits;
    });
    return index === -1 ? null : (this.#queue.splice(index, 1)[0] as Work);
  }

  /** All windows of a lane take the room of its longest. */
  #fits(work: Work, { batch, room }: Lane, roomFactor: number): boolean {
    const windows = batch.windows.length;
    if (windows === 0) return true;
    const needed = (windows + 1) * Math.max(batch.cross.positions, this.#positions(work));
    return windows < this.#options.maxBatch && needed <= room * roomFactor;
  }

  async #start(work: Work): Promise<void> {
    const lane = this.#laneOf(work);
    const { cross } = lane.batch;
    try {
      const place = cross.append(this.#positions(work));
      try {
        const startMs = performance.now();
        await this.#encode(work, cross, place);
        const encodedMs = performance.now();
        if (work.language === null) await this.#findLanguage(work, cross, place);
        const job = this.#job(work);
        const window = await lane.batch.join(job);
        lane.works.set(window, work);
        work.cost.encodeMs += encodedMs - startMs;
        work.cost.decodeMs += performance.now() - encodedMs;
        work.cost.draftTokens += job.draft?.length ?? 0;
        work.cost.acceptedTokens += window.acceptedTokens;
        work.cost.attempts++;
      } catch (error) {
        if (cross.windows > lane.batch.windows.length) cross.remove(place);
        throw error;
      }
    } catch (error) {
      work.reject(error);
    }
  }

  async #step(lane: Lane): Promise<void> {
    try {
      await lane.batch.step();
    } catch (error) {
      for (const work of lane.works.values()) work.reject(error);
      lane.works.clear();
      lane.batch.clear();
      return;
    }
    this.#leave(lane);
  }

  #leave(lane: Lane): void {
    lane.batch.leave((window, place, read) => {
      const work = lane.works.get(window) as Work;
      lane.works.delete(window);
      work.cost.decodeMs += window.stepMs;
      work.cost.steps += window.steps;
      work.cost.batchRows += window.rowsSum;
      if (read === null) return;
      try {
        const decoded = read();
        work.cost.tokens += decoded.tokens.length - (window.job.settled?.length ?? 0);
        this.#judge(work, decoded, lane.batch.cross, place);
      } catch (error) {
        work.reject(error);
      }
    });
  }

  /** Fills a place of the cache; a window that was encoded before is copied. */
  async #encode(work: Work, cross: CrossCache, place: number): Promise<void> {
    if (work.encoded === null) {
      await this.#session.encode(this.#window(work), cross, place);
    } else {
      cross.copyFrom(place, work.encoded);
      this.#spare = work.encoded;
      work.encoded = null;
    }
  }

  /** Encoder positions of the window that is decoded next, with its silent margin. */
  #positions(work: Work): number {
    const { request, attempt } = work;
    const most = this.#session.config.maxAudioPositions;
    if (attempt.fullPad) return most;
    const samples = request.pcm.length - firstSample(work) + this.#options.rules.marginSeconds * SAMPLE_RATE;
    return Math.min(most, Math.ceil(samples / SAMPLES_PER_POSITION / POSITION_STEP) * POSITION_STEP);
  }

  /** The audio to decode with its silent margin. */
  #window(work: Work): Float32Array {
    const pcm = work.request.pcm.subarray(firstSample(work));
    const padded = new Float32Array(this.#positions(work) * SAMPLES_PER_POSITION);
    padded.set(pcm.length > padded.length ? pcm.subarray(0, padded.length) : pcm);
    return padded;
  }

  async #findLanguage(work: Work, cross: CrossCache, place: number): Promise<void> {
    const [found] = await detectLanguages(this.#session, this.#tokenizer, cross.only(place), this.#detection);
    work.language = found?.language ?? null;
    work.languageProbability = found?.probability ?? 0;
  }

  #job(work: Work): DecodeJob {
    const { request, attempt, settled } = work;
    const prefix = attempt.withPrefix ? (request.prefix ?? []) : [];
    const start = startTokens(this.#tokenizer, work.language as string, request.task ?? 'transcribe');
    const limit = tokenLimit((request.pcm.length - (request.prefixSamples ?? 0)) / SAMPLE_RATE);
    const room = this.#session.config.maxTextPositions - start.length - prefix.length - limit - 1;
    const prompt = this.#prompt(request, Math.min(PROMPT_TOKENS, room));
    const initial = [...prompt, ...start, ...prefix];
    return {
      initial,
      startIndex: prompt.length,
      alignIndex: prompt.length + start.length - 1,
      mask: this.#masks.mask,
      firstMask: prefix.length > 0 ? this.#masks.mask : this.#masks.firstMask,
      limit: Math.max(1, Math.min(limit, this.#session.config.maxTextPositions - initial.length)),
      temperature: attempt.temperature,
      settled,
      draft: attempt === FIRST_ATTEMPT ? (request.draft ?? []) : [],
      // The same window gives the same text, whatever was decoded before.
      random: seededRandom(1),
      cancelled: () => work.cancelled,
    };
  }

  #prompt(request: TranscribeRequest, most: number): number[] {
    const text = request.promptText ? this.#tokenizer.encode(` ${request.promptText.trim()}`) : [];
    const tokens = [...text, ...(request.prompt ?? [])];
    return tokens.length === 0 || most < 1 ? [] : [this.#tokenizer.special.startOfPrevious, ...tokens.slice(-most)];
  }

  /** The work is done, or queues again with its next attempt. */
  #judge(work: Work, decoded: DecodedText, cross: CrossCache, place: number): void {
    const { rules } = this.#options;
    const { attempt, request } = work;
    const sum = decoded.logProbabilities.reduce((a, b) => a + b, 0);
    const quality: Quality = {
      ended: decoded.ended,
      averageLogProbability: sum / Math.max(1, decoded.logProbabilities.length),
      compressionRatio: compressionRatio(this.#tokenizer.decode(decoded.tokens)),
      noSpeechProbability: decoded.noSpeechProbability,
    };
    const verdict = judge(quality, rules);
    const candidate: Candidate = { attempt, quality, words: this.#words(work, decoded) };
    if (work.best === null || isBetter(quality, work.best.quality, rules)) work.best = candidate;
    const isPartial = request.priority === 'partial';
    const isEnough = isPartial || (verdict === 'doubtful' && !isWorthSearching(candidate.words, request.searchUntil ?? Infinity, rules));
    const next = isEnough ? null : nextAttempt(attempt, verdict, (request.prefix?.length ?? 0) > 0, rules);
    if (next === null) {
      const { cost } = work;
      cost.batchRows /= Math.max(1, cost.steps);
      const hasWords = verdict !== 'no-speech' && !(isPartial && verdict === 'bad');
      work.resolve({ result: result(work, work.best, hasWords), cost });
      return;
    }
    if (next.withPrefix === attempt.withPrefix && next.fullPad === attempt.fullPad) {
      work.encoded = cross.clone(place, this.#spare);
      this.#spare = undefined;
    }
    work.settled = verdict === 'doubtful' ? settledTokens(decoded, rules) : [];
    work.attempt = next;
    this.#enqueue(work, 'first');
  }

  /** The new words, with times from the request's start. */
  #words(work: Work, decoded: DecodedText): readonly Word[] {
    const { attempt, language, request } = work;
    if (decoded.tokens.length === 0) return [];
    const offset = firstSample(work);
    const words = timedWords(
      {
        decoded,
        forced: attempt.withPrefix ? (request.prefix?.length ?? 0) : 0,
        heads: this.#session.config.alignmentHeads.length,
        sampleCount: request.pcm.length - offset,
        language: language as string,
      },
      this.#tokenizer,
    );
    return offset === 0 ? words : words.map((word) => ({ ...word, start: word.start + offset, end: word.end + offset }));
  }
}

function result(work: Work, { attempt, quality, words }: Candidate, hasWords: boolean): TranscribeResult {
  return {
    words: hasWords ? words : [],
    offset: firstSample({ request: work.request, attempt }),
    language: work.language as string,
    languageProbability: work.languageProbability,
    noSpeechProbability: quality.noSpeechProbability,
    averageLogProbability: quality.averageLogProbability,
    compressionRatio: quality.compressionRatio,
    temperature: attempt.temperature,
  };
}

/** Not where the first doubtful word, and with it all that follow, will be heard again. */
function isWorthSearching(words: readonly Word[], searchUntil: number, rules: DecodingRules): boolean {
  const doubtful = words.find(({ probability }) => probability < rules.settledProbability);
  return searchUntil > 0 && (doubtful?.end ?? 0) <= searchUntil;
}

/** What a search keeps of a greedy text: the tokens before the first that is in doubt. */
const settledTokens = ({ tokens, logProbabilities }: DecodedText, rules: DecodingRules): SettledToken[] =>
  tokens.slice(0, settledCount(logProbabilities, rules)).map((token, i) => ({ token, logProbability: logProbabilities[i] as number }));

/** 0 for finals, which start first. */
const urgencyOf = ({ request }: Work): number => PRIORITIES.indexOf(request.priority ?? 'final');

/** Where an attempt's window begins in the request's audio. */
const firstSample = ({ request, attempt }: Pick<Work, 'request' | 'attempt'>): number =>
  attempt.withPrefix ? 0 : (request.prefixSamples ?? 0);

/** Texts that end and do not repeat themselves come before others, then the likelier one. */
function isBetter(a: Quality, b: Quality, rules: DecodingRules): boolean {
  const sound = (q: Quality): boolean => q.ended && q.compressionRatio <= rules.compressionRatioThreshold;
  if (sound(a) !== sound(b)) return sound(a);
  return a.averageLogProbability > b.averageLogProbability;
}

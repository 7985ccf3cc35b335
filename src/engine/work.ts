// A window on its way through its attempts: what is decoded next, and what comes of a decoded text. Both kinds of engines share it.

import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import type { ModelConfig } from '../model/config.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { DecodedText, DecodeJob, SettledToken } from './decode.ts';
import type { WindowCost } from './engine-messages.ts';
import { SAMPLES_PER_POSITION, thinnedPositions, type WindowPositions } from './positions.ts';
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

export interface Work {
  readonly request: TranscribeRequest;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  cancelled: boolean;
  attempt: Attempt;
  /** Null until it is known. */
  language: string | null;
  languageProbability: number;
  best: Candidate | null;
  /** First tokens of the next attempt that are kept from the best one. */
  settled: readonly SettledToken[];
  cost: { -readonly [Key in keyof WindowCost]: WindowCost[Key] };
}

/** What became of a request, for whoever made it. */
export interface Submission {
  readonly answer: Promise<Answer>;
  /** Its promise stays pending for good: nobody waits for it any more. */
  readonly cancel: () => void;
}

/** Turns requests into works, and works into jobs and results. Holds no work. */
export class Workbench {
  readonly #config: ModelConfig;
  readonly #tokenizer: Tokenizer;
  readonly #rules: DecodingRules;
  readonly #masks: Masks;

  constructor(config: ModelConfig, tokenizer: Tokenizer, rules: DecodingRules) {
    this.#config = config;
    this.#tokenizer = tokenizer;
    this.#rules = rules;
    this.#masks = buildMasks(config, tokenizer);
  }

  /** Queues a request. */
  submit(request: TranscribeRequest, queue: WorkQueue): Submission {
    const { prefix = [] } = request;
    if (prefix.length > this.#config.maxTextPositions / 2) {
      const message = `prefix: expected at most half the decoder's positions, got ${prefix.length} tokens`;
      return { answer: Promise.reject(new WhisperError('invalid_parameter', message)), cancel: () => {} };
    }
    const { work, answer } = this.#begin(request);
    queue.add(work, 'last');
    const cancel = (): void => {
      work.cancelled = true;
      queue.remove(work);
    };
    return { answer, cancel };
  }

  #begin(request: TranscribeRequest): { work: Work; answer: Promise<Answer> } {
    let work!: Work;
    const answer = new Promise<Answer>((resolve, reject) => {
      work = {
        request,
        resolve,
        reject,
        cancelled: false,
        attempt: FIRST_ATTEMPT,
        language: this.#config.multilingual ? request.language : 'en',
        languageProbability: 1,
        best: null,
        settled: [],
        cost: { encodeMs: 0, decodeMs: 0, steps: 0, batchRows: 0, tokens: 0, draftTokens: 0, acceptedTokens: 0, attempts: 0 },
      };
    });
    return { work, answer };
  }

  /** Encoder positions of the window that is decoded next, with its silent margin. */
  length({ request, attempt }: Work): number {
    const most = this.#config.maxAudioPositions;
    if (attempt.fullPad) return most;
    const samples = request.pcm.length - firstSample({ request, attempt }) + this.#rules.marginSeconds * SAMPLE_RATE;
    return Math.min(most, Math.ceil(samples / SAMPLES_PER_POSITION / POSITION_STEP) * POSITION_STEP);
  }

  /** Those that go through the model. */
  positions(work: Work): WindowPositions {
    const { request } = work;
    const total = this.length(work);
    const first = firstSample(work);
    const committed = Math.floor(((request.prefixSamples ?? 0) - first) / SAMPLES_PER_POSITION);
    return thinnedPositions(request.pcm.subarray(first), { committed, total }, this.#rules);
  }

  /** The audio to decode with its silent margin. */
  window(work: Work): Float32Array {
    const pcm = work.request.pcm.subarray(firstSample(work));
    const padded = new Float32Array(this.length(work) * SAMPLES_PER_POSITION);
    padded.set(pcm.length > padded.length ? pcm.subarray(0, padded.length) : pcm);
    return padded;
  }

  /** Its language must be known. */
  job(work: Work): DecodeJob {
    const { request, attempt, settled } = work;
    const prefix = attempt.withPrefix ? (request.prefix ?? []) : [];
    const start = startTokens(this.#tokenizer, work.language as string, request.task ?? 'transcribe');
    const limit = tokenLimit((request.pcm.length - (request.prefixSamples ?? 0)) / SAMPLE_RATE);
    const room = this.#config.maxTextPositions - start.length - prefix.length - limit - 1;
    const prompt = this.#prompt(request, Math.min(PROMPT_TOKENS, room));
    const initial = [...prompt, ...start, ...prefix];
    return {
      initial,
      startIndex: prompt.length,
      alignIndex: prompt.length + start.length - 1,
      mask: this.#masks.mask,
      firstMask: prefix.length > 0 ? this.#masks.mask : this.#masks.firstMask,
      limit: Math.max(1, Math.min(limit, this.#config.maxTextPositions - initial.length)),
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

  /** The work is done and answered (null), or gets its next attempt, which is returned. */
  judge(work: Work, decoded: DecodedText): Attempt | null {
    const { attempt, request } = work;
    const sum = decoded.logProbabilities.reduce((a, b) => a + b, 0);
    const quality: Quality = {
      ended: decoded.ended,
      isEmpty: decoded.tokens.length === 0,
      averageLogProbability: sum / Math.max(1, decoded.logProbabilities.length),
      compressionRatio: compressionRatio(this.#tokenizer.decode(decoded.tokens)),
      noSpeechProbability: decoded.noSpeechProbability,
    };
    work.cost.tokens += decoded.tokens.length - work.settled.length;
    const verdict = judge(quality, this.#rules);
    const candidate: Candidate = { attempt, quality, words: this.#words(work, decoded) };
    if (work.best === null || isBetter(quality, work.best.quality, this.#rules)) work.best = candidate;
    const isPartial = request.priority === 'partial';
    const isEnough =
      isPartial || (verdict === 'doubtful' && !isWorthSearching(candidate.words, request.searchUntil ?? Infinity, this.#rules));
    const next = isEnough ? null : nextAttempt(attempt, verdict, (request.prefix?.length ?? 0) > 0, this.#rules);
    if (next === null) {
      const { cost } = work;
      cost.batchRows /= Math.max(1, cost.steps);
      const hasWords = verdict !== 'no-speech' && !(isPartial && verdict === 'bad');
      work.resolve({ result: result(work, work.best, hasWords), cost });
      return null;
    }
    work.settled = verdict === 'doubtful' ? settledTokens(decoded, this.#rules) : [];
    work.attempt = next;
    return next;
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
        heads: this.#config.alignmentHeads.length,
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

/** Where an attempt's window begins in the request's audio. */
const firstSample = ({ request, attempt }: Pick<Work, 'request' | 'attempt'>): number =>
  attempt.withPrefix ? 0 : (request.prefixSamples ?? 0);

/** Texts that end and do not repeat themselves come before others, then the likelier one. */
function isBetter(a: Quality, b: Quality, rules: DecodingRules): boolean {
  const sound = (q: Quality): boolean => q.ended && q.compressionRatio <= rules.compressionRatioThreshold;
  if (sound(a) !== sound(b)) return sound(a);
  return a.averageLogProbability > b.averageLogProbability;
}

/** Works that wait, finals first; works of the same priority keep their order. */
export class WorkQueue {
  #works: Work[] = [];

  get size(): number {
    return this.#works.length;
  }

  /** @param place among those that are as urgent */
  add(work: Work, place: 'first' | 'last'): void {
    const urgency = urgencyOf(work);
    const index = this.#works.findIndex((other) => (place === 'first' ? urgencyOf(other) >= urgency : urgencyOf(other) > urgency));
    this.#works.splice(index === -1 ? this.#works.length : index, 0, work);
  }

  remove(work: Work): void {
    this.#works = this.#works.filter((other) => other !== work);
  }

  /** The first that is accepted, removed; null where none is. */
  take(accepts: (work: Work) => boolean): Work | null {
    const index = this.#works.findIndex(accepts);
    return index === -1 ? null : (this.#works.splice(index, 1)[0] as Work);
  }

  /** All of them, which are cancelled. */
  clear(): void {
    for (const work of this.#works) work.cancelled = true;
    this.#works = [];
  }
}

/** 0 for finals, which start first. */
export const urgencyOf = ({ request }: Work): number => PRIORITIES.indexOf(request.priority ?? 'final');

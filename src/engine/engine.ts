// Takes windows from a queue, encodes and decodes them in batches, and tries again what came out badly. Runs in the engine's thread.

import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { CrossCache, SelfCache } from './caches.ts';
import { type DecodedText, type DecodeJob, decodeBatch } from './decode.ts';
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
  startTokens,
  tokenLimit,
} from './rules.ts';
import { seededRandom } from './sampling.ts';
import type { Priority, TranscribeRequest, TranscribeResult } from './transcriber.ts';
import { timedWords } from './words.ts';

/** Windows are padded to multiples of this many positions (0.5 s), so that buffers of few sizes are reused. */
const POSITION_STEP = 25;
/** Room of a batch, in encoder positions: two whole windows of 30 s, or four of 15 s. More gains little (2 %) and costs 50 MB a window. */
const BATCH_POSITIONS = 3000;
/** Most of `<|startofprev|>` text, in tokens (`whisper/decoding.py`: half the context, less one). */
const PROMPT_TOKENS = 223;

export interface EngineOptions {
  readonly rules: DecodingRules;
  /** Most windows of one batch, at least 1. */
  readonly maxBatch: number;
}

interface Candidate {
  readonly attempt: Attempt;
  readonly quality: Quality;
  readonly decoded: DecodedText;
  /** Positions of the cache that `decoded.alignment` was taken from. */
  readonly stride: number;
}

interface Work {
  readonly request: TranscribeRequest;
  readonly resolve: (result: TranscribeResult) => void;
  readonly reject: (error: unknown) => void;
  cancelled: boolean;
  attempt: Attempt;
  language: string | null;
  languageProbability: number;
  best: Candidate | null;
  /** The encoded window, where the next attempt decodes it again. */
  encoded: CrossCache | null;
}

const PRIORITIES: readonly Priority[] = ['final', 'partial', 'file'];

export class Engine {
  readonly #session: ModelSession;
  readonly #tokenizer: Tokenizer;
  readonly #options: EngineOptions;
  readonly #masks: Masks;
  readonly #cross: CrossCache;
  readonly #self: SelfCache;
  #queue: Work[] = [];
  /** The loop that takes batches from the queue, while there is one. */
  #running: Promise<void> | null = null;
  /** Caches of windows that were decoded again, for the next such window. */
  readonly #spare: CrossCache[] = [];

  constructor(session: ModelSession, tokenizer: Tokenizer, options: EngineOptions) {
    this.#session = session;
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#masks = buildMasks(session.config, tokenizer);
    this.#cross = new CrossCache(session.shape);
    this.#self = new SelfCache(session.shape);
  }

  /** Queues a window. `cancel` makes its promise stay pending for good: nobody waits for it any more. */
  submit(request: TranscribeRequest): { result: Promise<TranscribeResult>; cancel: () => void } {
    const prefixTokens = request.prefix?.length ?? 0;
    if (prefixTokens > this.#session.config.maxTextPositions / 2) {
      // Refused alone: in a pass it would fail the windows beside it too.
      const error = new WhisperError(
        'invalid_parameter',
        `prefix: expected at most half the decoder's positions, got ${prefixTokens} tokens`,
      );
      return { result: Promise.reject(error), cancel: () => {} };
    }
    let work: Work | undefined;
    const result = new Promise<TranscribeResult>((resolve, reject) => {
      const language = this.#session.config.multilingual ? request.language : 'en';
      work = {
        request,
        resolve,
        reject,
        cancelled: false,
        attempt: FIRST_ATTEMPT,
        language,
        languageProbability: 1,
        best: null,
        encoded: null,
      };
      this.#queue.push(work);
    });
    this.#running ??= this.#drain();
    return {
      result,
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

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch();
      try {
        await this.#run(batch);
      } catch (error) {
        for (const work of batch) work.reject(error);
      }
    }
    this.#running = null;
  }

  /** The most urgent window and those that can share its passes: the same number of beams. */
  #takeBatch(): Work[] {
    const urgency = (work: Work): number => PRIORITIES.indexOf(work.request.priority ?? 'final');
    this.#queue.sort((a, b) => urgency(a) - urgency(b));
    const { beams } = (this.#queue[0] as Work).attempt;
    const most = beams > 1 ? 1 : this.#options.maxBatch;
    const batch: Work[] = [];
    let longest = 0;
    for (const work of this.#queue) {
      if (work.attempt.beams !== beams) continue;
      const positions = Math.max(longest, this.#positions(work));
      // All windows of a batch take the room of its longest.
      if (batch.length === most || (batch.length > 0 && (batch.length + 1) * positions > BATCH_POSITIONS)) break;
      longest = positions;
      batch.push(work);
    }
    this.#queue = this.#queue.filter((work) => !batch.includes(work));
    return batch;
  }

  async #run(batch: readonly Work[]): Promise<void> {
    await this.#encode(batch);
    await this.#findLanguages(batch);
    const { beams } = (batch[0] as Work).attempt;
    const { endOfText, noSpeech } = this.#tokenizer.special;
    // The same window gives the same text, whatever was decoded before.
    const options = { beams, endOfText, noSpeech, random: seededRandom(1) };
    const jobs = batch.map((work) => this.#job(work));
    await decodeBatch(this.#session, this.#cross, this.#self, jobs, options, (index, place, decoded) => {
      this.#finish(batch[index] as Work, decoded, place);
    });
  }

  /** Fills the cross cache; a window that was encoded before is copied. */
  async #encode(batch: readonly Work[]): Promise<void> {
    const windows = batch.map((work) => (work.encoded ? null : this.#window(work)));
    const lengths = windows.map((pcm, w) => (pcm ? pcm.length / SAMPLES_PER_POSITION : (batch[w]?.encoded?.positions ?? 0)));
    this.#cross.reset(batch.length, Math.max(...lengths));
    for (const [w, work] of batch.entries()) {
      if (work.encoded) {
        this.#cross.copyFrom(w, work.encoded);
        this.#spare.push(work.encoded);
        work.encoded = null;
      } else {
        await this.#session.encode(windows[w] as Float32Array, this.#cross, w);
      }
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

  async #findLanguages(batch: readonly Work[]): Promise<void> {
    const unknown = batch.map((work) => work.language === null);
    if (!unknown.includes(true)) return;
    const found = await detectLanguages(this.#session, this.#tokenizer, this.#cross, this.#self);
    found.forEach(({ language, probability }, w) => {
      const work = batch[w] as Work;
      if (!unknown[w]) return;
      work.language = language;
      work.languageProbability = probability;
    });
  }

  #job(work: Work): DecodeJob {
    const { request, attempt } = work;
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
      cancelled: () => work.cancelled,
    };
  }

  #prompt(request: TranscribeRequest, most: number): number[] {
    const text = request.promptText ? this.#tokenizer.encode(` ${request.promptText.trim()}`) : [];
    const tokens = [...text, ...(request.prompt ?? [])];
    return tokens.length === 0 || most < 1 ? [] : [this.#tokenizer.special.startOfPrevious, ...tokens.slice(-most)];
  }

  /** Judges a decode: the work is done, or goes to the head of the queue with its next attempt. */
  #finish(work: Work, decoded: DecodedText, place: number): void {
    const { rules } = this.#options;
    const sum = decoded.logProbabilities.reduce((a, b) => a + b, 0);
    const quality: Quality = {
      ended: decoded.ended,
      averageLogProbability: sum / Math.max(1, decoded.logProbabilities.length),
      compressionRatio: compressionRatio(this.#tokenizer.decode(decoded.tokens)),
      noSpeechProbability: decoded.noSpeechProbability,
    };
    const verdict = judge(quality, rules);
    const candidate: Candidate = { attempt: work.attempt, quality, decoded, stride: this.#cross.positions };
    if (work.best === null || isBetter(quality, work.best.quality, rules)) work.best = candidate;
    const next = nextAttempt(work.attempt, verdict, (work.request.prefix?.length ?? 0) > 0, rules);
    if (next === null) {
      work.resolve(this.#result(work, verdict === 'no-speech' ? null : work.best));
      return;
    }
    if (next.withPrefix === work.attempt.withPrefix && next.fullPad === work.attempt.fullPad)
      work.encoded = this.#cross.clone(place, this.#spare.pop());
    work.attempt = next;
    this.#queue.unshift(work);
  }

  #result(work: Work, candidate: Candidate | null): TranscribeResult {
    const { request } = work;
    const { attempt, decoded, quality, stride } = candidate ?? (work.best as Candidate);
    const offset = firstSample({ request, attempt });
    const sampleCount = request.pcm.length - offset;
    const language = work.language as string;
    const words =
      candidate === null || decoded.tokens.length === 0
        ? []
        : timedWords(
            {
              decoded,
              forced: attempt.withPrefix ? (request.prefix?.length ?? 0) : 0,
              heads: this.#session.config.alignmentHeads.length,
              stride,
              sampleCount,
              language,
            },
            this.#tokenizer,
          );
    return {
      words: offset === 0 ? words : words.map((word) => ({ ...word, start: word.start + offset, end: word.end + offset })),
      offset,
      language,
      languageProbability: work.languageProbability,
      noSpeechProbability: quality.noSpeechProbability,
      averageLogProbability: quality.averageLogProbability,
      compressionRatio: quality.compressionRatio,
      temperature: attempt.temperature,
    };
  }
}

/** Where an attempt's window begins in the request's audio. */
const firstSample = ({ request, attempt }: Pick<Work, 'request' | 'attempt'>): number =>
  attempt.withPrefix ? 0 : (request.prefixSamples ?? 0);

/** Texts that end and do not repeat themselves come before others, then the likelier one. */
function isBetter(a: Quality, b: Quality, rules: DecodingRules): boolean {
  const sound = (q: Quality): boolean => q.ended && q.compressionRatio <= rules.compressionRatioThreshold;
  if (sound(a) !== sound(b)) return sound(a);
  return a.averageLogProbability > b.averageLogProbability;
}

// Takes windows as they come and decodes whole batches of them, from audio to text in one run of a device. Runs in an engine's thread.

import type { ModelConfig } from '../model/config.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { BatchLimit } from './batch-limit.ts';
import { BatchTimes } from './batch-times.ts';
import type { DecodedText, DecodeJob } from './decode.ts';
import { languageMask, languageOf } from './language.ts';
import type { PrefillOptions } from './prefill.ts';
import type { TranscribeRequest } from './transcriber.ts';
import type { DecodedBatch, EncodedJob } from './window-session.ts';
import { type EngineOptions, type Submission, type Work, Workbench, WorkQueue } from './work.ts';

/** What decodes a batch; a WindowSession is one. */
export interface BatchDecoder {
  readonly config: ModelConfig;
  decode(windows: readonly EncodedJob[], options: PrefillOptions): Promise<DecodedBatch>;
  close(): Promise<void>;
}

export interface BatchEngineOptions extends EngineOptions {
  /** Most encoder positions of a batch with one hypothesis a window, padding included; what the device's memory holds. */
  readonly maxPositions: number;
  /** Told when a batch did not fit into the device's memory. */
  readonly onOutOfMemory?: (windows: number) => void;
  /** Told when the device has failed for good. */
  readonly onBroken?: (error: unknown) => void;
}

/** Runs that fail one after the other, of whatever windows, mean a device that does not work any more. */
const MOST_FAILURES = 3;

/** What works of a batch have in common. */
type Kind = 'language' | 'greedy' | 'search';

/**
 * Data flow: queue -> batch of one kind -> decode -> judge -> result, or the queue again with the next attempt.
 *
 * A batch runs until its last window is finished; those that come meanwhile are the next batch, so batches grow as load does.
 */
export class BatchEngine {
  readonly #decoder: BatchDecoder;
  readonly #tokenizer: Tokenizer;
  readonly #options: BatchEngineOptions;
  readonly #bench: Workbench;
  readonly #languageMask: Float32Array;
  readonly #limit: BatchLimit;
  readonly #times: Readonly<Record<Kind, BatchTimes>>;
  readonly #queue = new WorkQueue();
  /** The loop, while there is something to do. */
  #running: Promise<void> | null = null;
  #failures = 0;

  constructor(decoder: BatchDecoder, tokenizer: Tokenizer, options: BatchEngineOptions) {
    this.#decoder = decoder;
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#bench = new Workbench(decoder.config, tokenizer, options.rules);
    this.#languageMask = languageMask(tokenizer, decoder.config.vocabularySize);
    this.#limit = new BatchLimit(options.maxBatch, options.maxPositions);
    const times = (): BatchTimes => new BatchTimes(options.maxBatch);
    this.#times = { language: times(), greedy: times(), search: times() };
  }

  submit(request: TranscribeRequest): Submission {
    const submission = this.#bench.submit(request, this.#queue);
    if (this.#queue.size > 0) this.#running ??= this.#run();
    return submission;
  }

  /** Gives up what waits and resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#queue.clear();
    await this.#running;
    await this.#decoder.close();
  }

  async #run(): Promise<void> {
    // Windows that were sent together shall be one batch.
    await nextTurn();
    for (let batch = this.#takeBatch(); batch.length > 0; batch = this.#takeBatch()) {
      await this.#decode(batch);
      await nextTurn();
    }
    this.#running = null;
  }

  /** The first that waits, and as many of its kind as fit beside it. */
  #takeBatch(): Work[] {
    const batch: Work[] = [];
    let kind: Kind | null = null;
    let longest = 0;
    for (;;) {
      const next = this.#queue.take((work) => {
        if (kind !== null && kindOf(work) !== kind) return false;
        const positions = Math.max(longest, this.#bench.length(work));
        return batch.length === 0 || this.#limit.fits(batch.length + 1, positions * this.#rows(work));
      });
      if (next === null) return batch;
      kind = kindOf(next);
      longest = Math.max(longest, this.#bench.length(next));
      batch.push(next);
    }
  }

  async #decode(batch: readonly Work[]): Promise<void> {
    const [first] = batch as [Work];
    const kind = kindOf(first);
    const windows = batch.map((work): EncodedJob => ({ pcm: this.#bench.window(work), job: this.#job(work) }));
    const startMs = performance.now();
    let decoded: DecodedBatch;
    try {
      decoded = await this.#decoder.decode(windows, this.#decodeOptions(first));
    } catch (error) {
      this.#fail(batch, error);
      return;
    }
    this.#failures = 0;
    this.#limit.succeeded();
    const windowMs = this.#times[kind].add(batch.length, performance.now() - startMs);
    const again = batch.filter((work, w) => {
      const text = decoded.texts[w] as DecodedText;
      work.cost.decodeMs += windowMs;
      if (work.cancelled) return false;
      try {
        return kind === 'language' ? this.#setLanguage(work, text) : this.#judge(work, text, decoded.steps, batch.length);
      } catch (error) {
        work.reject(error);
        return false;
      }
    });
    this.#putBack(again);
  }

  /** Before all that wait, in their order. */
  #putBack(works: readonly Work[]): void {
    for (const work of [...works].reverse()) this.#queue.add(work, 'first');
  }

  /** @returns true: it is to be decoded now */
  #setLanguage(work: Work, text: DecodedText): boolean {
    const { language, probability } = languageOf(this.#tokenizer, text.tokens[0] as number, text.logProbabilities[0] as number);
    work.language = language;
    work.languageProbability = probability;
    return true;
  }

  /** @returns whether it is to be tried again */
  #judge(work: Work, text: DecodedText, steps: number, windows: number): boolean {
    work.cost.steps += steps;
    work.cost.batchRows += steps * windows * this.#rows(work);
    work.cost.attempts++;
    return this.#bench.judge(work, text) !== null;
  }

  /** Where the batch was too large for the device, its windows come again in smaller ones. */
  #fail(batch: readonly Work[], error: unknown): void {
    if (isOutOfMemory(error)) {
      this.#options.onOutOfMemory?.(batch.length);
      const [first] = batch as [Work];
      const longest = Math.max(...batch.map((work) => this.#bench.length(work)));
      if (this.#limit.outOfMemory(batch.length, longest * this.#rows(first))) {
        this.#putBack(batch);
        return;
      }
    }
    for (const work of batch) work.reject(error);
    if (++this.#failures >= MOST_FAILURES) this.#options.onBroken?.(error);
  }

  #job(work: Work): DecodeJob {
    if (kindOf(work) !== 'language') return this.#bench.job(work);
    const mask = this.#languageMask;
    const initial = [this.#tokenizer.special.startOfTranscript];
    const random = (): number => 0;
    return {
      initial,
      startIndex: 0,
      alignIndex: 0,
      mask,
      firstMask: mask,
      limit: 1,
      temperature: 0,
      random,
      cancelled: () => work.cancelled,
    };
  }

  #decodeOptions(work: Work): PrefillOptions {
    const { endOfText, noSpeech } = this.#tokenizer.special;
    return { beams: this.#rows(work), endOfText, noSpeech };
  }

  /** Hypotheses that a window is decoded with. */
  #rows(work: Work): number {
    return kindOf(work) === 'search' ? this.#options.rules.beams : 1;
  }
}

function kindOf({ attempt, language }: Work): Kind {
  if (language === null) return 'language';
  return attempt.beams > 1 ? 'search' : 'greedy';
}

/** Lets messages in: windows, and cancellations of those that wait. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** onnxruntime's words for it: the arena's, CUDA's, cuBLAS', cuDNN's, WebGPU's. */
const OUT_OF_MEMORY =
  /failed to allocate memory|out of memory|CUBLAS failure 3:|resource allocation failed|ALLOC(ATION)?_FAILED|bad_alloc|exceeds the max buffer size|Failed to create GPU buffer|Invalid Buffer/i;

export const isOutOfMemory = (error: unknown): boolean => error instanceof Error && OUT_OF_MEMORY.test(error.message);

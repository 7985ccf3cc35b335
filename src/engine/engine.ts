// Takes windows as they come, encodes them and decodes them side by side, a step at a time. Runs in an engine's thread, on the processor.

import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type EncodedWindows, SelfCache } from './caches.ts';
import type { DecodedText, DecodeJob, RunningWindow } from './decode.ts';
import { DecodeBatch } from './decode-batch.ts';
import { detectLanguages } from './language.ts';
import type { ModelSession } from './model-session.ts';
import { candidatesFor } from './prefill.ts';
import type { TranscribeRequest } from './transcriber.ts';
import { type EngineOptions, type Submission, urgencyOf, type Work, Workbench, WorkQueue } from './work.ts';

/** Room of a greedy batch, in encoder positions: two whole windows of 30 s, or five of 11 s. More gains little and costs 24 kB a position. */
const BATCH_POSITIONS = 3000;
/** Room of a batch with beams: its windows take a row a beam. */
const SEARCH_POSITIONS = 1500;
/** Finals find this much more room: beside the window of a file, which may be three times as long, two of them would not. */
const FINALS_ROOM = 1.5;

interface Lane {
  readonly batch: DecodeBatch;
  /** For windows that start; one that is decoded again finds room in any case. */
  readonly room: number;
}

/**
 * Data flow: queue -> encode -> (language) -> join a lane -> steps -> judge -> result, or the next attempt: in a lane that adopts the window,
 * or from the queue, where it has to be encoded anew.
 *
 * Each turn of the loop starts one window, if one waits and there is room, and makes one step of each lane: windows join what runs,
 * and what runs never waits for more than one of them.
 */
export class Engine {
  readonly #session: ModelSession;
  readonly #tokenizer: Tokenizer;
  readonly #maxBatch: number;
  readonly #bench: Workbench;
  readonly #greedy: Lane;
  readonly #search: Lane;
  readonly #detection: SelfCache;
  readonly #queue = new WorkQueue();
  /** What the windows of the lanes are for. */
  readonly #works = new Map<DecodeJob, Work>();
  /** The loop, while there is something to do. */
  #running: Promise<void> | null = null;

  constructor(session: ModelSession, tokenizer: Tokenizer, { maxBatch, rules }: EngineOptions) {
    this.#session = session;
    this.#tokenizer = tokenizer;
    this.#maxBatch = maxBatch;
    this.#bench = new Workbench(session.config, tokenizer, rules);
    this.#detection = new SelfCache(session.shape);
    const lane = (beams: number, room: number): Lane => {
      const { endOfText, noSpeech } = tokenizer.special;
      // A search goes on from what a greedy decode ranked.
      const candidates = candidatesFor(rules.beams);
      return { batch: new DecodeBatch(session, { beams, candidates, endOfText, noSpeech }), room };
    };
    this.#greedy = lane(1, BATCH_POSITIONS);
    this.#search = lane(rules.beams, SEARCH_POSITIONS);
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
    await this.#session.close();
  }

  async #run(): Promise<void> {
    const lanes = [this.#greedy, this.#search];
    for (;;) {
      const work = this.#takeNext();
      if (work !== null) await this.#start(work);
      for (const lane of lanes) {
        await this.#leave(lane);
        if (lane.batch.windows.length > 0) await this.#step(lane);
      }
      if (this.#queue.size === 0 && this.#works.size === 0) break;
    }
    this.#running = null;
  }

  #laneOf = ({ attempt }: Work): Lane => (attempt.beams > 1 ? this.#search : this.#greedy);

  /** The first window that finds room. Nothing passes a final that waits for room in the same lane: it would take that room, again and again. */
  #takeNext(): Work | null {
    const blocked = new Set<Lane>();
    return this.#queue.take((work) => {
      const lane = this.#laneOf(work);
      if (blocked.has(lane)) return false;
      const isFinal = urgencyOf(work) === 0;
      const fits = this.#fits(work, lane, isFinal ? FINALS_ROOM : 1);
      if (isFinal && !fits) blocked.add(lane);
      return fits;
    });
  }

  /** All windows of a lane take the room of its longest. How many positions this one will have is known when it starts: at most its length. */
  #fits(work: Work, { batch, room }: Lane, roomFactor: number): boolean {
    const all = this.#greedy.batch.windows.length + this.#search.batch.windows.length;
    if (all === 0) return true;
    const needed = (batch.windows.length + 1) * Math.max(batch.cross.positions, this.#bench.length(work));
    return all < this.#maxBatch && needed <= room * roomFactor;
  }

  async #start(work: Work): Promise<void> {
    const { batch } = this.#laneOf(work);
    try {
      const chosen = this.#bench.positions(work);
      const place = batch.cross.append(chosen.indices.length);
      try {
        const startMs = performance.now();
        await this.#session.encode(this.#bench.window(work), batch.cross, place, chosen);
        work.cost.encodeMs += performance.now() - startMs;
        await this.#decode(work, async () => {
          if (work.language === null) await this.#findLanguage(work, batch.cross.only(place));
          return batch.join(this.#bench.job(work));
        });
      } catch (error) {
        if (batch.cross.windows > batch.windows.length) batch.cross.remove(place);
        throw error;
      }
    } catch (error) {
      work.reject(error);
    }
  }

  /** @param begin puts the window into a lane */
  async #decode(work: Work, begin: () => Promise<RunningWindow>): Promise<void> {
    const startMs = performance.now();
    const { acceptedTokens, job } = await begin();
    this.#works.set(job, work);
    work.cost.decodeMs += performance.now() - startMs;
    work.cost.draftTokens += job.draft?.length ?? 0;
    work.cost.acceptedTokens += acceptedTokens;
    work.cost.attempts++;
  }

  async #step(lane: Lane): Promise<void> {
    const { batch } = lane;
    try {
      await batch.step();
    } catch (error) {
      for (const { job } of batch.windows) {
        this.#works.get(job)?.reject(error);
        this.#works.delete(job);
      }
      batch.clear();
      return;
    }
    await this.#leave(lane);
  }

  async #leave({ batch }: Lane): Promise<void> {
    await batch.leave(async ({ job, rowsSum, stepMs, steps }, place, read) => {
      const work = this.#works.get(job) as Work;
      this.#works.delete(job);
      work.cost.decodeMs += stepMs;
      work.cost.steps += steps;
      work.cost.batchRows += rowsSum;
      if (read === null) return;
      try {
        await this.#judge(work, read(), batch, place);
      } catch (error) {
        work.reject(error);
      }
    });
  }

  async #findLanguage(work: Work, cross: EncodedWindows): Promise<void> {
    const [found] = await detectLanguages(this.#session, this.#tokenizer, cross, this.#detection);
    work.language = found?.language ?? null;
    work.languageProbability = found?.probability ?? 0;
  }

  /** The work is done, or gets its next attempt. */
  async #judge(work: Work, decoded: DecodedText, batch: DecodeBatch, place: number): Promise<void> {
    const { attempt } = work;
    const next = this.#bench.judge(work, decoded);
    if (next === null) return;
    if (next.withPrefix === attempt.withPrefix && next.fullPad === attempt.fullPad) {
      await this.#decode(work, () => this.#laneOf(work).batch.adopt(batch, place, this.#bench.job(work)));
    } else {
      this.#queue.add(work, 'first');
    }
  }
}

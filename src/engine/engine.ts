// Takes windows as they come, encodes them and decodes them side by side, a step at a time. Runs in an engine's thread, on the processor.

import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type CrossCache, SelfCache } from './caches.ts';
import type { DecodedText, RunningWindow } from './decode.ts';
import { DecodeBatch } from './decode-batch.ts';
import { detectLanguages } from './language.ts';
import type { ModelSession } from './model-session.ts';
import type { WindowPositions } from './positions.ts';
import type { TranscribeRequest } from './transcriber.ts';
import { type EngineOptions, type Submission, urgencyOf, type Work, Workbench, WorkQueue } from './work.ts';

/** Room of a greedy batch, in encoder positions: two whole windows of 30 s, or five of 11 s. More gains little and costs 24 kB a position. */
const BATCH_POSITIONS = 3000;
/** Room of a batch with beams: its windows take a row a beam. */
const SEARCH_POSITIONS = 1500;
/** Finals find this much more room: beside the window of a file, which may be three times as long, two of them would not. */
const FINALS_ROOM = 1.5;

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
  readonly #maxBatch: number;
  readonly #bench: Workbench;
  readonly #greedy: Lane;
  readonly #search: Lane;
  readonly #detection: SelfCache;
  readonly #queue = new WorkQueue();
  /** Windows that are encoded already, and wait to be decoded again. */
  readonly #encoded = new Map<Work, CrossCache>();
  /** The loop, while there is something to do. */
  #running: Promise<void> | null = null;
  /** The cache of a window that was decoded again, for the next such window. */
  #spare: CrossCache | undefined;

  constructor(session: ModelSession, tokenizer: Tokenizer, { maxBatch, rules }: EngineOptions) {
    this.#session = session;
    this.#tokenizer = tokenizer;
    this.#maxBatch = maxBatch;
    this.#bench = new Workbench(session.config, tokenizer, rules);
    this.#detection = new SelfCache(session.shape);
    const lane = (beams: number, room: number): Lane => {
      const { endOfText, noSpeech } = tokenizer.special;
      return { beams, batch: new DecodeBatch(session, { beams, endOfText, noSpeech }), room, works: new Map() };
    };
    this.#greedy = lane(1, BATCH_POSITIONS);
    this.#search = lane(rules.beams, SEARCH_POSITIONS);
  }

  submit(request: TranscribeRequest): Submission {
    const submission = this.#bench.submit(request, this.#queue, (work) => this.#encoded.delete(work));
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
        this.#leave(lane);
        if (lane.works.size > 0) await this.#step(lane);
      }
      if (this.#queue.size === 0 && lanes.every(({ works }) => works.size === 0)) break;
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
    const windows = batch.windows.length;
    if (windows === 0) return true;
    const needed = (windows + 1) * Math.max(batch.cross.positions, this.#bench.length(work));
    return windows < this.#maxBatch && needed <= room * roomFactor;
  }

  async #start(work: Work): Promise<void> {
    const lane = this.#laneOf(work);
    const { cross } = lane.batch;
    try {
      const chosen = this.#encoded.get(work)?.chosen[0] ?? this.#bench.positions(work);
      const place = cross.append(chosen.indices.length);
      try {
        const startMs = performance.now();
        await this.#encode(work, chosen, cross, place);
        const encodedMs = performance.now();
        if (work.language === null) await this.#findLanguage(work, cross, place);
        const job = this.#bench.job(work);
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
        this.#judge(work, read(), lane.batch.cross, place);
      } catch (error) {
        work.reject(error);
      }
    });
  }

  /** Fills a place of the cache; a window that was encoded before is copied. */
  async #encode(work: Work, chosen: WindowPositions, cross: CrossCache, place: number): Promise<void> {
    const encoded = this.#encoded.get(work);
    if (encoded === undefined) {
      await this.#session.encode(this.#bench.window(work), cross, place, chosen);
    } else {
      cross.copyFrom(place, encoded);
      this.#spare = encoded;
      this.#encoded.delete(work);
    }
  }

  async #findLanguage(work: Work, cross: CrossCache, place: number): Promise<void> {
    const [found] = await detectLanguages(this.#session, this.#tokenizer, cross.only(place), this.#detection);
    work.language = found?.language ?? null;
    work.languageProbability = found?.probability ?? 0;
  }

  /** The work is done, or queues again with its next attempt. */
  #judge(work: Work, decoded: DecodedText, cross: CrossCache, place: number): void {
    const { attempt } = work;
    const next = this.#bench.judge(work, decoded);
    if (next === null) return;
    if (next.withPrefix === attempt.withPrefix && next.fullPad === attempt.fullPad) {
      this.#encoded.set(work, cross.clone(place, this.#spare));
      this.#spare = undefined;
    }
    this.#queue.add(work, 'first');
  }
}

// A day of live streams on two deployments of Serve's, event by event: callers, admission, windows, queues, autoscaling, machines.
//
// Simplified: windows carry no audio, every chunk holds speech, a caller who is refused does not try again, files are left out, partials
// are counted as load but do not hold finals up (they run where no final waits), and Serve's control loop runs once a second.

import type { AutoscalingConfig } from './autoscaler.ts';
import type { Call } from './callers.ts';
import { Deployment, type Replica } from './deployment.ts';
import { EventQueue } from './event-queue.ts';
import { FinalMeter, OngoingMeter } from './meters.ts';
import { type NodeOptions, NodePool } from './nodes.ts';
import type { Random } from './random.ts';
import { choose, Recogniser } from './recognisers.ts';
import { meanFinalSeconds, type ServiceProfile, spreadFactors } from './service-times.ts';
import { type DaySummary, INTERVAL_SECONDS, type Interval, Tally } from './tally.ts';
import { type ClusterLoad, TranscriptionServer } from './transcription-server.ts';
import { FINAL_EVERY_SECONDS } from './word-latency.ts';

export interface DeploymentOptions {
  readonly autoscaling: AutoscalingConfig;
  readonly nodes: NodeOptions;
}

export interface DayOptions {
  /** In order of time. */
  readonly calls: Iterable<Call>;
  readonly hours: number;
  readonly random: Random;
  readonly profile: ServiceProfile;
  readonly server: DeploymentOptions;
  readonly asr: DeploymentOptions;
  /** `drain_seconds` of a TranscriptionServer. */
  readonly drainSeconds: number;
  /** Streams that one server takes at most: `max_sessions`. */
  readonly maxSessions: number;
  /** Share of the streams that show drafts: `interim_results`. */
  readonly draftShare: number;
  /** Nobody is refused for load: `admit_all`. */
  readonly admitAll: boolean;
}

/** From its beginning to its first final: a chunk. */
const CHUNK_SECONDS = 5;
/** From one final to the next varies by so much either way: words end where they do. */
const FINAL_JITTER = 0.2;
/** Until a server that is to go notices: three health checks that do not come. */
const DRAIN_NOTICE_SECONDS = 6;

/** Yields what happened in each five minutes; returns the sum of the day. */
export function* simulateDay(options: DayOptions): Generator<Interval, DaySummary> {
  const day = new Day(options);
  for (let second = 0; second < options.hours * 3600; ) {
    day.runSecond(second++);
    if (second % INTERVAL_SECONDS === 0) yield day.tally.interval(second);
  }
  return day.summary();
}

interface Stream {
  server: TranscriptionServer;
  leave: () => void;
  readonly closeSeconds: number;
  /** When the audio of its next window will be there; Infinity: there is no more, and the last result is waited for. */
  dueSeconds: number;
  isCut: boolean;
}

class Day {
  readonly tally = new Tally();
  readonly #options: DayOptions;
  readonly #asrNodes: NodePool;
  readonly #serverNodes: NodePool;
  readonly #asr: Deployment<Recogniser>;
  readonly #servers: Deployment<TranscriptionServer>;
  /** The running ones, anew after each round of the control loop. */
  #recognisers: readonly Recogniser[];
  #draining: { readonly untilSeconds: number; readonly replica: Replica<TranscriptionServer> }[] = [];
  readonly #calls: Iterator<Call>;
  #nextCall: Call | null;
  #now = 0;
  /** What was complete when this second began is what is known in it. */
  #second = 0;

  /** Streams by number; numbers are used again. An event is the number of a stream whose window is due, or whose last result is there. */
  readonly #streams: (Stream | null)[] = [];
  readonly #freeNumbers: number[] = [];
  readonly #events = new EventQueue();
  #openStreams = 0;

  readonly #spread: Float64Array;
  readonly #windowsOngoing = new OngoingMeter();
  readonly #streamsOngoing = new OngoingMeter();
  readonly #finals = new FinalMeter();
  /** A final window's time at the present load. */
  #meanSeconds = 0;
  #load: ClusterLoad;

  constructor(options: DayOptions) {
    const { asr, profile, random, server } = options;
    this.#options = options;
    this.#asrNodes = new NodePool(asr.nodes, random);
    this.#serverNodes = new NodePool(server.nodes, random);
    this.#asr = new Deployment(asr.autoscaling, this.#asrNodes, () => new Recogniser(profile.engines));
    this.#servers = new Deployment(server.autoscaling, this.#serverNodes, () => new TranscriptionServer(() => this.#now));
    this.#recognisers = this.#asr.running.map(({ work }) => work);
    this.#spread = spreadFactors(profile.variation, random);
    this.#calls = options.calls[Symbol.iterator]();
    this.#nextCall = this.#takeCall();
    this.#load = this.#measure();
  }

  runSecond(second: number): void {
    for (const meter of [this.#windowsOngoing, this.#streamsOngoing, this.#finals]) meter.begin(second);
    for (const { work } of [...this.#servers.running, ...this.#draining.map(({ replica }) => replica)]) work.begin(second);
    for (;;) {
      const callSeconds = this.#nextCall?.atSeconds ?? Number.POSITIVE_INFINITY;
      const eventSeconds = this.#events.nextTime;
      this.#now = Math.min(callSeconds, eventSeconds);
      if (this.#now >= second + 1) break;
      if (callSeconds <= eventSeconds) {
        this.#arrive(this.#nextCall!);
        this.#nextCall = this.#takeCall();
      } else this.#goOn(this.#events.next);
    }
    this.#now = this.#second = second + 1;
    this.#countOngoing(second);
    this.#scale();
    this.#load = this.#measure();
    this.tally.secondDone({
      streams: this.#openStreams,
      finalShare: this.#load.finalShare,
      recognisers: this.#recognisers.length,
      servers: this.#servers.running.length + this.#draining.length,
      asrNodes: this.#asrNodes.count,
      serverNodes: this.#serverNodes.count,
    });
  }

  summary(): DaySummary {
    return this.tally.summary({
      stillOpen: this.#openStreams,
      asrNodeHours: this.#asrNodes.paidHours(this.#now),
      serverNodeHours: this.#serverNodes.paidHours(this.#now),
    });
  }

  #takeCall(): Call | null {
    const { done, value } = this.#calls.next();
    return done === true ? null : value;
  }

  #arrive({ atSeconds, durationSeconds }: Call): void {
    this.tally.arrived++;
    const server = this.#serverWithRoom();
    if (server === null) {
      this.tally.refused++;
      return;
    }
    const number = this.#freeNumbers.pop() ?? this.#streams.length;
    const closeSeconds = atSeconds + durationSeconds;
    const dueSeconds = Math.min(closeSeconds, atSeconds + CHUNK_SECONDS);
    this.#streams[number] = { server, leave: server.open(number), closeSeconds, dueSeconds, isCut: false };
    this.#events.push(dueSeconds, number);
    this.#openStreams++;
  }

  /** The server that HAProxy would choose, if it takes one more stream. */
  #serverWithRoom(): TranscriptionServer | null {
    let least = this.#servers.running[0]!.work;
    for (const { work } of this.#servers.running) if (work.streams.size < least.streams.size) least = work;
    const { admitAll, maxSessions } = this.#options;
    return least.streams.size < maxSessions && (admitAll || least.admits(this.#load, this.#second)) ? least : null;
  }

  /** The first event is this stream's. */
  #goOn(number: number): void {
    const stream = this.#streams[number]!;
    const { closeSeconds, dueSeconds } = stream;
    if (stream.isCut || dueSeconds === Number.POSITIVE_INFINITY) {
      this.#events.drop();
      this.#streams[number] = null;
      this.#freeNumbers.push(number);
      if (!stream.isCut) this.#end(stream);
      return;
    }
    const doneSeconds = this.#recognise(stream);
    const jitter = this.#options.random.between(1 - FINAL_JITTER, 1 + FINAL_JITTER);
    const next = Math.min(closeSeconds, dueSeconds + FINAL_EVERY_SECONDS * jitter);
    const wasLast = dueSeconds >= closeSeconds;
    stream.dueSeconds = wasLast ? Number.POSITIVE_INFINITY : next;
    // one final of a stream is out at a time
    this.#events.postpone(wasLast ? doneSeconds : Math.max(doneSeconds, next));
  }

  #end(stream: Stream): void {
    stream.leave();
    this.tally.served++;
    this.#openStreams--;
  }

  /** One window through a recogniser. @returns when its result is there */
  #recognise({ dueSeconds, server }: Stream): number {
    const { profile, random } = this.#options;
    const now = this.#now;
    const engineSeconds = this.#meanSeconds * this.#spread[random.index(this.#spread.length)]!;
    const startSeconds = choose(this.#recognisers, random).submit(now, engineSeconds);
    const doneSeconds = startSeconds + engineSeconds + profile.passSeconds;
    this.#windowsOngoing.addSpan(now, doneSeconds);
    // the mean: what spreads is how long windows hold each other up in a batch, rather than their work
    this.#finals.add(doneSeconds, this.#load.finalSeconds, doneSeconds - now);
    server.finalDone(doneSeconds);
    this.tally.windowDone(doneSeconds - dueSeconds);
    return doneSeconds;
  }

  #countOngoing(second: number): void {
    const servers = this.#servers.running.map(({ work }) => work);
    const { engines, finalShare, partialSeconds } = this.#load;
    const partials = servers.reduce((sum, server) => sum + server.partialsPerSecond(this.#load, this.#options.draftShare), 0);
    // they only run where finals leave room
    this.#windowsOngoing.addDuring(second, Math.min(partials * partialSeconds, (1 - finalShare) * engines));
    this.#streamsOngoing.addDuring(
      second,
      servers.reduce((sum, { streams }) => sum + streams.size, 0),
    );
  }

  /** A round of Serve's control loop. */
  #scale(): void {
    const ongoing = (meter: OngoingMeter, { lookBackSeconds, metricsIntervalSeconds }: AutoscalingConfig): number =>
      meter.mean(this.#second, lookBackSeconds, metricsIntervalSeconds);
    const { asr, drainSeconds, server } = this.#options;
    // its windows are done within a second or two
    for (const { placed } of this.#asr.update(ongoing(this.#windowsOngoing, asr.autoscaling), this.#now)) placed.leave(this.#now);
    this.#recognisers = this.#asr.running.map(({ work }) => work);
    for (const replica of this.#servers.update(ongoing(this.#streamsOngoing, server.autoscaling), this.#now)) {
      this.#draining.push({ untilSeconds: this.#now + DRAIN_NOTICE_SECONDS + drainSeconds, replica });
    }
    this.#draining = this.#draining.filter(({ replica, untilSeconds }) => {
      if (replica.work.streams.size > 0 && this.#now < untilSeconds) return true;
      for (const number of replica.work.streams) this.#move(this.#streams[number]!, number);
      replica.placed.leave(this.#now);
      return false;
    });
  }

  /** Its server goes away, and the client connects again; what was final stays with it. */
  #move(stream: Stream, number: number): void {
    stream.leave();
    const server = this.#serverWithRoom();
    if (server === null) {
      stream.isCut = true;
      this.tally.cut++;
      this.#openStreams--;
      return;
    }
    this.tally.moved++;
    stream.server = server;
    stream.leave = server.open(number);
  }

  #measure(): ClusterLoad {
    const { engines: enginesOfOne, meteredShare, partialSeconds } = this.#options.profile;
    const engines = this.#recognisers.length * enginesOfOne;
    this.#meanSeconds = meanFinalSeconds(this.#options.profile, this.#openStreams / engines);
    return {
      engines,
      callers: this.#servers.running.length,
      finalShare: this.#finals.share(this.#second, engines),
      partialShare: 0,
      finalSeconds: meteredShare * this.#meanSeconds,
      partialSeconds,
      oldestFinalSeconds: this.#recognisers.reduce((most, recogniser) => Math.max(most, recogniser.oldestWaitSeconds(this.#now)), 0),
      finalDelaySeconds: this.#finals.delaySeconds(this.#second),
    };
  }
}

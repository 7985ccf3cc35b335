// Whether one more stream can be followed in time: a prediction from what the engine measures of itself. No timers, no I/O.
//
// Predicted is the share of the engines' time that finals will take once the load of every open stream, and of the one that asks, shows
// in the measurement. That takes a while: a stream's first final comes after its first chunk, and the share is a mean over 10 s.
// So the measured share is taken for the streams that it holds, and a mean stream's share is added for what it does not hold yet.
// Without that a burst of handshakes would be admitted whole, for none of them had cost anything when the next one asked.
// Where several servers share the engines, the others are taken to have as many newcomers as this one: a balancer spreads a burst. Of a server
// that has less load than the others, less is concluded: balancers send newcomers to where there is least.

import type { TranscriberLoad } from '../engine/transcriber.ts';

/** Finals may be predicted to take this share of the engines' time: the rest is for jitter, partials and the slow window. */
const ADMISSION_SHARE = 0.75;
/** Once streams are refused, they are until the prediction is below this: a service that says yes and no in turns helps nobody. */
const READMISSION_SHARE = 0.7;
/** Finals that wait, or took, longer than this are late already, whatever is predicted. */
const LATE_WAIT_SECONDS = 1.5;
const LATE_DELAY_SECONDS = 2;
/** Live speech taking more than this leaves nothing for files. */
const FILE_SHARE = 0.9;

/** What TranscriberLoad's shares are a mean over. */
const MEASURED_SECONDS = 10;
/**
 * From a stream's handshake until its load shows: a chunk of 5 s and some. Rather long: whoever asks often is let in at the moment in
 * which the measurement happens to be low. Simulated, with somebody asking all the time: 6 s holds the bound, 5 s exceeds it by half.
 */
const FIRST_FINAL_SECONDS = 6;
/** Between two finals of speech without pauses: the chunk less the words held back. Also what the end of a stream leaves for its last. */
const FINAL_EVERY_SECONDS = 3.4;
/** The share of a mean stream is measured on the streams there are, and on so many more that cost what is expected of them. */
const EXPECTED_STREAMS = 2;
/** Bounds of that share over the expected: silent callers may begin to speak; with chunks of 1 s there are 3.4 times the windows. */
const [LEAST_OF_EXPECTED, MOST_OF_EXPECTED] = [0.5, 4];
/** Nothing is heard in a stream that closes after less: not remembered. */
const SHORTEST_STREAM_SECONDS = 0.1;

const RETRY_SECONDS = { least: 5, most: 30 };

export interface Assessment {
  readonly isAdmitting: boolean;
  /** Share of the engines' time that finals would take with one more stream; above 1 where it would be more than there is. */
  readonly predictedShare: number;
  /** When to ask again: the further above the bound, the later, 5-30 s. */
  readonly retryAfterSeconds: number;
}

interface Span {
  readonly openedSeconds: number;
  /** Infinity while it is open. */
  closedSeconds: number;
}

export class Admission {
  readonly #now: () => number;
  readonly #open = new Set<Span>();
  /** Closed while the measurement still holds them, oldest first. */
  #closed: Span[] = [];
  #isRefusing = false;

  /** @param now milliseconds of a monotonic clock */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** To be asked before every new stream; remembers whether it refuses. */
  assess(load: TranscriberLoad): Assessment {
    const assessment = this.peek(load);
    this.#isRefusing = !assessment.isAdmitting;
    return assessment;
  }

  /** What `assess` would say, and nothing is remembered. */
  peek(load: TranscriberLoad): Assessment {
    const predictedShare = this.#predict(load);
    const isLate = load.oldestFinalSeconds > LATE_WAIT_SECONDS || load.finalDelaySeconds > LATE_DELAY_SECONDS;
    const bound = this.#isRefusing ? READMISSION_SHARE : ADMISSION_SHARE;
    // A machine too slow for one stream still serves one: late is better than never.
    const isRefusing = this.#open.size > 0 && (isLate || predictedShare > bound);
    const excess = Math.max(
      predictedShare / ADMISSION_SHARE,
      load.oldestFinalSeconds / LATE_WAIT_SECONDS,
      load.finalDelaySeconds / LATE_DELAY_SECONDS,
    );
    const { least, most } = RETRY_SECONDS;
    const retryAfterSeconds = Math.round(clamp(least + (excess - 1) * (most - least), least, most));
    return { isAdmitting: !isRefusing, predictedShare, retryAfterSeconds };
  }

  /** Counts an admitted stream, until the function returned is called. */
  enter(): () => void {
    const span: Span = { openedSeconds: this.#now() / 1000, closedSeconds: Number.POSITIVE_INFINITY };
    this.#open.add(span);
    return () => {
      if (!this.#open.delete(span)) return;
      span.closedSeconds = this.#now() / 1000;
      if (span.closedSeconds - span.openedSeconds >= SHORTEST_STREAM_SECONDS) this.#closed.push(span);
    };
  }

  #predict(load: TranscriberLoad): number {
    const until = this.#now() / 1000;
    this.#closed = this.#closed.filter((span) => span.closedSeconds > until - MEASURED_SECONDS);
    // In streams: how many the measured share holds, of those that are here and of those that have gone.
    const here = sum(this.#open, (span) => presence(span, until));
    const gone = sum(this.#closed, (span) => presence(span, until));
    const expected = load.finalSeconds / load.engines / FINAL_EVERY_SECONDS;
    const ours = load.finalShare - load.finalShareOfOthers;
    const measured = (ours + EXPECTED_STREAMS * expected) / (here + gone + EXPECTED_STREAMS);
    const perStream = clamp(measured, LEAST_OF_EXPECTED * expected, MOST_OF_EXPECTED * expected);
    const shareOfThoseHere = gone === 0 ? ours : (ours * here) / (here + gone);
    const newcomers = this.#open.size - here;
    const others = load.callers - 1;
    const some = EXPECTED_STREAMS * expected;
    const likeness = others === 0 ? 0 : Math.min(1, (ours + some) / (load.finalShareOfOthers / others + some));
    return load.finalShareOfOthers + shareOfThoseHere + (newcomers * (1 + others * likeness) + 1) * perStream;
  }
}

/** Whether a file would find any room beside live speech, which goes first. */
export const hasRoomForFiles = (load: TranscriberLoad): boolean => load.finalShare <= FILE_SHARE;

/** How much of a stream's load the mean of the last 10 s holds, 0-1: finals begin after a chunk, and the end brings one more. */
function presence({ openedSeconds, closedSeconds }: Span, until: number): number {
  const from = Math.max(openedSeconds + FIRST_FINAL_SECONDS, until - MEASURED_SECONDS);
  const steady = Math.max(0, Math.min(closedSeconds, until) - from);
  const atEnd = closedSeconds <= until ? Math.min(FINAL_EVERY_SECONDS, closedSeconds - openedSeconds) : 0;
  return (steady + atEnd) / MEASURED_SECONDS;
}

function sum(spans: Iterable<Span>, value: (span: Span) => number): number {
  let total = 0;
  for (const span of spans) total += value(span);
  return total;
}

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

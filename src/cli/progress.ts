// Progress on the terminal: one bar where a person looks on, a line every tenth elsewhere, nothing when quiet.

import { SingleBar } from 'cli-progress';
import type { DownloadProgress } from '../model/model-source.ts';

/** What of a terminal is used. */
export interface ProgressStream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
}

export interface ProgressOptions {
  /** Usually stderr, so that stdout holds results only. */
  readonly stream: ProgressStream;
  /** @default false */
  readonly quiet?: boolean;
}

export interface ProgressDisplay {
  /** One line for the user. */
  readonly message: (line: string) => void;
  readonly download: (progress: DownloadProgress) => void;
  /** What goes on now, where nobody knows for how long; the next one takes its place. */
  readonly step: (line: string) => void;
  /** Seconds of a file's audio that are transcribed; the total may not be known. */
  readonly audio: (file: string, doneSeconds: number, totalSeconds: number | undefined) => void;
  /** Leaves the terminal in order. Idempotent. */
  readonly stop: () => void;
}

const MEGABYTE = 1_000_000;
/** Downloads below this come and go too quickly to be shown. */
const SMALLEST_SHOWN_BYTES = MEGABYTE;
/** The label of a bar that is none. */
const STEP = '';
/** A log needs no line for every package. */
const STEP_INTERVAL_MS = 3000;

export function createProgress({ stream, quiet = false }: ProgressOptions): ProgressDisplay {
  const noop = (): void => undefined;
  if (quiet) return { message: noop, download: noop, step: noop, audio: noop, stop: noop };
  const track = stream.isTTY ? barTracker(stream) : lineTracker(stream);
  return {
    message: (line) => {
      track.stop();
      stream.write(`${line}\n`);
    },
    download: ({ file, receivedBytes, totalBytes }) => {
      if ((totalBytes ?? SMALLEST_SHOWN_BYTES) < SMALLEST_SHOWN_BYTES) return;
      track.show(file, receivedBytes, totalBytes, (bytes) => `${(bytes / MEGABYTE).toFixed(1)} MB`);
    },
    step: track.say,
    audio: (file, doneSeconds, totalSeconds) => track.show(file, doneSeconds, totalSeconds, clock),
    stop: () => track.stop(),
  };
}

interface Tracker {
  say(line: string): void;
  show(label: string, done: number, total: number | undefined, format: (amount: number) => string): void;
  stop(): void;
}

function barTracker(stream: ProgressStream): Tracker {
  let bar: SingleBar | undefined;
  let shown: string | undefined;
  const stop = (): void => {
    bar?.stop();
    bar = undefined;
    shown = undefined;
  };
  return {
    say(line) {
      if (shown !== STEP) {
        stop();
        shown = STEP;
        bar = new SingleBar({ stream, format: '{line}', hideCursor: true, gracefulExit: false, clearOnComplete: true });
        bar.start(1, 0, { line });
      }
      bar?.update({ line });
    },
    show(label, done, total, format) {
      const payload = { label, doneText: format(done), totalText: total === undefined ? '' : format(total) };
      if (shown !== label) {
        stop();
        shown = label;
        // its own signal handlers would keep the process from ending on SIGINT and SIGTERM
        bar = new SingleBar({
          stream,
          format: total === undefined ? '{label} {doneText}' : '{label} [{bar}] {percentage}% {doneText} of {totalText}',
          hideCursor: true,
          gracefulExit: false,
          barsize: 30,
        });
        bar.start(total ?? 1, total === undefined ? 0 : done, payload);
      }
      bar?.update(total === undefined ? 0 : Math.min(done, total), payload);
    },
    stop,
  };
}

function lineTracker(stream: ProgressStream): Tracker {
  let shown: string | undefined;
  let lastTenth = -1;
  let lastStep = '';
  let lastStepMs = Number.NEGATIVE_INFINITY;
  return {
    say(line) {
      const nowMs = performance.now();
      if (line === lastStep || nowMs - lastStepMs < STEP_INTERVAL_MS) return;
      lastStep = line;
      lastStepMs = nowMs;
      stream.write(`${line}\n`);
    },
    show(label, done, total, format) {
      if (total === undefined) return;
      const tenth = total === 0 ? 10 : Math.floor((done / total) * 10);
      if (shown === label && tenth <= lastTenth) return;
      shown = label;
      lastTenth = tenth;
      stream.write(`${label}: ${tenth * 10} % (${format(done)} of ${format(total)})\n`);
    },
    stop: () => {
      shown = undefined;
      lastTenth = -1;
      lastStepMs = Number.NEGATIVE_INFINITY;
    },
  };
}

/** Minutes and seconds, `12:05`. */
function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

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
  /** Seconds of a file's audio that are transcribed; the total may not be known. */
  readonly audio: (file: string, doneSeconds: number, totalSeconds: number | undefined) => void;
  /** Leaves the terminal in order. Idempotent. */
  readonly stop: () => void;
}

const MEGABYTE = 1_000_000;
/** Downloads below this come and go too quickly to be shown. */
const SMALLEST_SHOWN_BYTES = MEGABYTE;

export function createProgress({ stream, quiet = false }: ProgressOptions): ProgressDisplay {
  if (quiet) return { message: () => undefined, download: () => undefined, audio: () => undefined, stop: () => undefined };
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
    audio: (file, doneSeconds, totalSeconds) => track.show(file, doneSeconds, totalSeconds, clock),
    stop: () => track.stop(),
  };
}

interface Tracker {
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
  return {
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
    },
  };
}

/** Minutes and seconds, `12:05`. */
function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

// The server that is measured, in a process of its own, which says what each of its threads has taken.

import { readdirSync } from 'node:fs';
import { Registry } from 'prom-client';
import { createSpeechDetector } from '../../src/engine/speech-detector.ts';
import { createServer } from '../../src/server/server.ts';
import { statFields } from '../../test/processes.ts';
import { CLOCK_TICKS_PER_SECOND } from '../../test/server-process.ts';
import { InstantTranscriber } from './instant-transcriber.ts';

/** Processor seconds since the process began. */
export interface ThreadSeconds {
  readonly main: number;
  /** Of the speech detector. */
  readonly detector: number;
  /** The runtime's: garbage collection, compilation, files. */
  readonly others: number;
  /** Windows that the recogniser was asked for. */
  readonly windows: number;
}

export type ProcessMessage =
  | { readonly kind: 'ready'; readonly port: number }
  | { readonly kind: 'threads'; readonly seconds: ThreadSeconds };

const TASKS = '/proc/self/task';

/** User and system time; none where the thread ended while the others were read. */
function secondsOf(thread: string): number {
  const fields = statFields(process.pid, thread);
  return fields === null ? 0 : (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

const send = (message: ProcessMessage): void => void process.send?.(message);

const before = new Set(readdirSync(TASKS));
const speechDetector = await createSpeechDetector();
const ofDetector = new Set(readdirSync(TASKS).filter((thread) => !before.has(thread)));
const transcriber = new InstantTranscriber();
const server = await createServer({
  engine: { transcriber, speechDetector },
  registry: new Registry(),
  address: { host: '127.0.0.1', port: 0 },
  limits: { maxSessions: 100_000 },
  admission: false,
});

process.on('message', () => {
  const seconds = { main: 0, detector: 0, others: 0, windows: transcriber.windows };
  for (const thread of readdirSync(TASKS)) {
    const whose = thread === String(process.pid) ? 'main' : ofDetector.has(thread) ? 'detector' : 'others';
    seconds[whose] += secondsOf(thread);
  }
  send({ kind: 'threads', seconds });
});
process.on('disconnect', () => process.exit());
send({ kind: 'ready', port: server.port as number });

// Live streams through the real service with published weights: paced speech over real sockets, as bench/capacity sends it.

import { ServerProcess } from '../../test/server-process.ts';
import { LoadGenerator } from '../capacity/load.ts';
import type { PcmClip } from '../capacity/plan.ts';
import { jobOf, type StepResult, summarise } from '../capacity/step.ts';
import type { RunningSystem } from '../capacity/systems.ts';
import { nextCount, type Rung } from './ladder.ts';
import type { GpuOptions } from './options.ts';
import { clipsOfFolder, clipsOfRecording, ordersFor } from './speech.ts';

/** What has not ended so long after its last sample is lost: a rung that is late is over soon. */
const DRAIN_SECONDS = 8;
/** Streams that count for nothing: a device compiles and allocates for batches of sizes that it has not seen. */
const [WARM_UP_STREAMS, WARM_UP_SECONDS] = [16, 10] as const;

export interface ServedRung
  extends Rung,
    Pick<StepResult, 'wordFinalSeconds' | 'cpuPerAudioSecond' | 'residentPeakMB' | 'refused' | 'lost'> {
  readonly failures: readonly string[];
  readonly generatorLateP95Ms: number;
}

export interface ServedJob {
  readonly options: GpuOptions;
  readonly modelDir: string;
  readonly workDir: string;
  readonly start: number;
  readonly most: number;
  readonly boundSeconds: number;
  readonly seconds: number;
  readonly signal: AbortSignal;
}

export interface ServedResult {
  /** Seconds until the service was ready. */
  readonly readySeconds: number;
  /** What it said of the device. */
  readonly computesOn: string | null;
  readonly stopped: string | null;
}

export async function measureServed(job: ServedJob, onRung: (rung: ServedRung) => void): Promise<ServedResult> {
  const { options, signal, workDir } = job;
  const startMs = performance.now();
  const secondsLeft = (): number => job.seconds - (performance.now() - startMs) / 1000;
  const clips = options.speech === null ? await clipsOfRecording(options.from, workDir) : await clipsOfFolder(options.speech);
  const server = await ServerProcess.start({
    entry: options.from === 'dist' ? 'compiled' : 'sources',
    args: serverArguments(job),
    readyTimeoutMs: Math.max(1, secondsLeft()) * 1000,
  });
  const stop = (): void => void server.stop('SIGKILL');
  signal.addEventListener('abort', stop, { once: true });
  const generator = new LoadGenerator();
  const readySeconds = (performance.now() - startMs) / 1000;
  const computesOn = /Computing on [^\n]*/.exec(server.output)?.[0] ?? null;
  let stopped: string | null = null;
  try {
    await play(server, generator, clips, { ...job, streams: Math.min(WARM_UP_STREAMS, job.start), audioSeconds: WARM_UP_SECONDS });
    const rungs: ServedRung[] = [];
    for (;;) {
      const streams = nextCount(rungs, job.start, job.most);
      if (streams === null) break;
      if (options.rungSeconds + options.chunkSeconds + DRAIN_SECONDS > secondsLeft()) {
        stopped = `no time was left for ${streams} streams`;
        break;
      }
      const step = await play(server, generator, clips, { options, streams, audioSeconds: options.rungSeconds });
      const rung = rungOf(step, job.boundSeconds);
      rungs.push(rung);
      onRung(rung);
      if (!server.alive) {
        stopped = `the service ended: ${server.output.trim().slice(-300)}`;
        break;
      }
    }
  } finally {
    signal.removeEventListener('abort', stop);
    generator.close();
    // Nothing of it needs saving, and there may be no time for it to drain.
    await server.stop('SIGKILL');
  }
  return { readySeconds, computesOn, stopped };
}

function serverArguments({ modelDir, options, workDir }: ServedJob): string[] {
  const { device, deviceMemory, engines, maxBatch } = options;
  const option = (name: string, value: number | null): string[] => (value === null ? [] : [name, String(value)]);
  return [
    ...['--model', modelDir, '--cache', workDir, '--device', device, '--precision', servedPrecision(options)],
    // The limit is looked for in latency, not in whom admission lets in.
    ...['--admit-all', '--max-sessions', '100000', '--log-level', 'silent'],
    ...option('--engines', engines),
    ...option('--max-batch', maxBatch),
    ...option('--device-memory', deviceMemory),
  ];
}

/** The service's own choice on a processor, which computes in int8. */
export const servedPrecision = ({ device, precisions }: GpuOptions): string => (device === 'cpu' ? 'int8' : precisions[0]!);

interface Played extends Pick<ServedJob, 'options'> {
  readonly streams: number;
  readonly audioSeconds: number;
}

async function play(
  server: ServerProcess,
  generator: LoadGenerator,
  clips: readonly PcmClip[],
  { audioSeconds, options, streams }: Played,
): Promise<StepResult> {
  const system: RunningSystem = {
    name: 'ours',
    url: server.url.replace('http', 'ws'),
    usage: () => server.usage(),
    stop: async () => undefined,
  };
  const { chunkSeconds } = options;
  const chunks = { chunkSeconds, overlapSeconds: Math.min(0.5, chunkSeconds / 2) };
  const orders = ordersFor(clips, streams, audioSeconds, chunkSeconds);
  const load = await generator.run(system, jobOf(chunks, system, orders, { drainSeconds: DRAIN_SECONDS }));
  return summarise('ours', load, []);
}

function rungOf(step: StepResult, boundSeconds: number): ServedRung {
  const { cpuPerAudioSecond, failures, generator, lost, refused, residentPeakMB, streams, wordFinalSeconds } = step;
  const { p95 } = wordFinalSeconds;
  const inTime = refused === 0 && lost === 0 && p95 !== null && p95 < boundSeconds;
  const generatorLateP95Ms = generator.lateP95Ms;
  return { streams, inTime, wordFinalSeconds, cpuPerAudioSecond, residentPeakMB, refused, lost, failures, generatorLateP95Ms };
}

// Runs one job of the load generator against a system and watches the machine meanwhile: processor time, memory, what others use.

import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { GeneratorJob, GeneratorReport, WireJob } from './generator-messages.ts';
import type { RunningSystem } from './systems.ts';

const SAMPLE_MS = 1000;
const PROGRESS_SAMPLES = 15;
const CLOCK_TICKS_PER_SECOND = 100;

export interface UsageSample {
  readonly atMs: number;
  /** Of the server and its children, since they began. */
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  /** Of the whole machine. */
  readonly busySeconds: number;
}

export interface LoadReport extends GeneratorReport {
  /** Every second, and at the beginning and the end. */
  readonly usage: readonly UsageSample[];
}

/** Processor seconds of the whole machine since it started, idle and waiting left out (proc(5), /proc/stat). */
function busySeconds(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)[0]!
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq + steal) / CLOCK_TICKS_PER_SECOND;
}

export class LoadGenerator {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(fileURLToPath(new URL('generator.ts', import.meta.url)), [], { execArgv: ['--import', 'tsx'] });
  }

  /** @param progress called now and then with the seconds that have passed */
  async run(system: RunningSystem, job: GeneratorJob, progress: (seconds: number) => void = () => undefined): Promise<LoadReport> {
    const sample = (): UsageSample => ({ atMs: performance.timeOrigin + performance.now(), ...system.usage(), busySeconds: busySeconds() });
    const usage = [sample()];
    const timer = setInterval(() => {
      usage.push(sample());
      if (usage.length % PROGRESS_SAMPLES === 0) progress(usage.length - 1);
    }, SAMPLE_MS);
    try {
      const wire: WireJob = { ...job, pace: Number.isFinite(job.pace) ? job.pace : null };
      const report = await this.#ask(wire);
      usage.push(sample());
      return { ...report, usage };
    } finally {
      clearInterval(timer);
    }
  }

  #ask(job: WireJob): Promise<GeneratorReport> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`the load generator ended with ${code}`));
      this.#child.once('exit', ended);
      this.#child.once('message', (answer: { report: GeneratorReport } | { error: string }) => {
        this.#child.off('exit', ended);
        if ('error' in answer) reject(new Error(`load generator: ${answer.error}`));
        else resolve(answer.report);
      });
      this.#child.send(job);
    });
  }

  /** Idempotent. */
  close(): void {
    this.#child.kill();
  }
}

/** What was used from `fromMs` to the first sample at or after `toMs`. */
export function usedBetween(usage: readonly UsageSample[], fromMs: number, toMs: number): { cpuSeconds: number; busySeconds: number } {
  const first = usage.findLast(({ atMs }) => atMs <= fromMs) ?? usage[0]!;
  const last = usage.find(({ atMs }) => atMs >= toMs) ?? usage.at(-1)!;
  return { cpuSeconds: last.cpuSeconds - first.cpuSeconds, busySeconds: last.busySeconds - first.busySeconds };
}

export const peakResidentMB = (usage: readonly UsageSample[]): number =>
  Math.round(Math.max(...usage.map(({ residentBytes }) => residentBytes)) / 2 ** 20);

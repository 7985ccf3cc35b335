// The steps of all systems in turn, then the same streams each alone, and which steps were held.

import type { PythonWorker } from '../python.ts';
import { isFarOut, isHeld, isInTime, type StepFigures } from './hold.ts';
import type { LoadGenerator } from './load.ts';
import { type CapacityOptions, isService, type SystemName } from './options.ts';
import { type PcmClip, planStream, type StreamPlan } from './plan.ts';
import { jobOf, runStep, type StepResult, warmUp } from './step.ts';
import { type RunningSystem, type SystemParts, startSystem } from './systems.ts';
import { countErrors, type ErrorCount, pooledPercent } from './wer.ts';

export interface HeldStep extends StepResult {
  /** Of the same streams, each alone; null where the step was late anyway. */
  readonly referenceWerPercent: number | null;
  readonly held: boolean;
}

export interface LadderParts {
  readonly options: CapacityOptions;
  readonly systems: SystemParts;
  readonly generator: LoadGenerator;
  readonly scorer: PythonWorker;
  readonly clips: readonly PcmClip[];
  readonly progress: (text: string) => void;
}

export const figuresOf = (step: StepResult, referenceWerPercent: number | null): StepFigures => ({
  streams: step.streams,
  refused: step.refused,
  lost: step.lost,
  p95Seconds: step.wordFinalSeconds.p95,
  werPercent: step.werPercent,
  referenceWerPercent,
});

const MAX_TRIES = 5;
/** Where an answer depends on when audio comes, only its own pace is comparable. */
const REFERENCE_PACE: Readonly<Record<SystemName, number>> = { ours: Infinity, ray: Infinity, naive: Infinity, whisperlive: 1 };

/** Starts the system, warms it up, does the work and stops it, whatever happens. */
export async function withSystem<Result>(
  name: SystemName,
  { options, systems, generator, clips }: LadderParts,
  work: (system: RunningSystem) => Promise<Result>,
): Promise<Result> {
  const system = await startSystem(name, systems);
  try {
    await warmUp(generator, options, system, clips);
    return await work(system);
  } finally {
    await system.stop();
  }
}

/** Errors of stream `plan` alone on the machine; as fast as it is taken where that changes nothing. */
async function errorsAlone(system: RunningSystem, plan: StreamPlan, { options, generator, scorer }: LadderParts): Promise<ErrorCount> {
  const job = jobOf(options, system, [{ plan, connectAfterMs: 0, audioAfterMs: 0 }], {
    pace: REFERENCE_PACE[system.name],
    interimResults: false,
    drainSeconds: 300,
  });
  for (let tries = 1; ; tries++) {
    const stream = (await generator.run(system, job)).streams[0]!;
    if (stream.state === 'done') return countErrors(scorer, plan, stream.text);
    if (tries === MAX_TRIES) throw new Error(`${system.name}: stream ${plan.index} alone was ${stream.state}: ${stream.failure ?? ''}`);
    await new Promise((resolve) => setTimeout(resolve, (stream.refusal?.retryAfterSeconds ?? 1) * 1000));
  }
}

async function judge(name: SystemName, steps: readonly StepResult[], parts: LadderParts): Promise<HeldStep[]> {
  const { options, clips, progress } = parts;
  const inTime = steps.filter((step) => isInTime(figuresOf(step, null), options.chunkSeconds));
  const needed = Math.max(0, ...inTime.map(({ streams }) => streams));
  const alone: ErrorCount[] = [];
  if (needed > 0) {
    await withSystem(name, parts, async (system) => {
      for (let index = 0; index < needed; index++) {
        if (index % 4 === 0) progress(`${name}: streams alone, ${index}/${needed}`);
        alone.push(await errorsAlone(system, planStream(clips, index, options.seconds), parts));
      }
    });
  }
  return steps.map((step) => {
    const reference = inTime.includes(step) ? pooledPercent(alone.slice(0, step.streams)) : null;
    return { ...step, referenceWerPercent: reference, held: isHeld(figuresOf(step, reference), options.chunkSeconds) };
  });
}

export interface Climb {
  readonly steps: readonly HeldStep[];
  /** Peers that failed, and why. */
  readonly leftOut: Readonly<Record<string, string>>;
}

/** One step of each system after the other, so that a busy quarter of an hour hits them alike. */
export async function climb(names: readonly SystemName[], parts: LadderParts, onStep: (step: StepResult) => void): Promise<Climb> {
  const { options, clips, progress } = parts;
  const results = new Map<SystemName, StepResult[]>(names.map((name) => [name, []]));
  const countsOf = (name: SystemName): readonly number[] => (isService(name) ? options.streams : options.peerStreams);
  const given = new Set<SystemName>();
  const leftOut: Record<string, string> = {};
  for (let round = 0; round < Math.max(...names.map((name) => countsOf(name).length)); round++) {
    for (const name of names) {
      const count = countsOf(name)[round];
      if (count === undefined || given.has(name)) continue;
      const plans = Array.from({ length: count }, (_, index) => planStream(clips, index, options.seconds));
      const step = await withSystem(name, parts, (system) => runStep({ ...parts, system, plans })).catch((error: Error) => {
        if (isService(name)) throw error;
        // A peer that does not work here costs its rows, not the run
        leftOut[name] = error.message.trim().split('\n').at(-1) ?? '';
        progress(`${name} is left out: ${error.message}`);
        return null;
      });
      if (step === null) {
        given.add(name);
        continue;
      }
      results.get(name)?.push(step);
      onStep(step);
      const figures = figuresOf(step, null);
      // Of a peer only the number that it holds is asked for
      if (isFarOut(figures) || (!isService(name) && !isInTime(figures, options.chunkSeconds))) given.add(name);
    }
  }
  const held: HeldStep[] = [];
  for (const [name, steps] of results) held.push(...(await judge(name, steps, parts)));
  return { steps: held, leftOut };
}

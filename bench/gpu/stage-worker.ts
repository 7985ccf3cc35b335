// One stage in a process of its own: a device that fails, or takes too long, costs that stage and no other. Job as JSON in, JSON lines out.

import { type BandwidthJob, measureBandwidth } from './bandwidth.ts';
import { measureReplay, type ReplayJob, type ReplayReport } from './replay.ts';
import { measureScaling, type ScalingJob, type ScalingReport } from './scaling.ts';

export type StageJob = BandwidthJob | ScalingJob | ReplayJob;
export type StageReport =
  | { readonly kind: 'bandwidth'; readonly gigabytesPerSecond: number }
  | ScalingReport
  | ReplayReport
  | { readonly kind: 'failed'; readonly reason: string }
  /** The last line of a stage that came to its end. */
  | { readonly kind: 'done' };

const report = (line: StageReport): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

async function measure(job: StageJob): Promise<void> {
  if (job.stage === 'bandwidth') report({ kind: 'bandwidth', gigabytesPerSecond: await measureBandwidth(job) });
  else if (job.stage === 'scaling') await measureScaling(job, report);
  else await measureReplay(job, report);
  report({ kind: 'done' });
}

const REASON_CHARACTERS = 300;

/** What went wrong in few words: onnxruntime says it behind names of its functions, the engine in the cause. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? `${error.message} ${error.cause ?? ''}` : String(error);
  return (/(CUDA|CUBLAS|CUDNN) failure [^;]*/.exec(text)?.[0] ?? text).trim().replaceAll(/\s+/g, ' ').slice(-REASON_CHARACTERS);
}

try {
  await measure(JSON.parse(process.argv[2] ?? '') as StageJob);
} catch (error) {
  report({ kind: 'failed', reason: reasonOf(error) });
}

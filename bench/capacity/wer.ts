// Word errors of streams, pooled, by the scorer of the other benchmarks.

import type { PythonWorker } from '../python.ts';
import type { StreamPlan } from './plan.ts';

export interface ErrorCount {
  readonly errors: number;
  readonly length: number;
}

export async function countErrors(scorer: PythonWorker, plan: StreamPlan, text: string): Promise<ErrorCount> {
  return scorer.request<ErrorCount>({ op: 'errors', language: 'en', reference: plan.text, hypothesis: text });
}

/** Null without words to compare. */
export function pooledPercent(counts: readonly ErrorCount[]): number | null {
  const length = counts.reduce((sum, count) => sum + count.length, 0);
  if (length === 0) return null;
  return Number(((100 * counts.reduce((sum, { errors }) => sum + errors, 0)) / length).toFixed(3));
}

// The tables on the screen: steps, buckets, and pairs of a name and a figure.

import type { HeldStep } from './ladder.ts';
import type { StepResult } from './step.ts';

/** Columns padded to their widest cell, figures to the right. */
export function formatColumns(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export const fixed = (value: number | null, digits = 2): string => (value === null ? '-' : value.toFixed(digits));

const HEAD = ['system', 'N', 'WER %', 'alone %', 'p50 s', 'p95 s', 'p99 s', 'first s', 'partials/s', 'CPU s/s', 'RSS MB'];
const TAIL = ['refused', 'lost', 'gaps', 'late ms', 'others', 'held'];

export function formatSteps(steps: readonly (StepResult | HeldStep)[]): string {
  const lines = steps.map((step) => [
    step.system,
    String(step.streams),
    fixed(step.werPercent),
    'referenceWerPercent' in step ? fixed(step.referenceWerPercent) : '-',
    fixed(step.wordFinalSeconds.p50),
    fixed(step.wordFinalSeconds.p95),
    fixed(step.wordFinalSeconds.p99),
    fixed(step.firstTextSeconds.p50),
    fixed(step.partialsPerSecond),
    fixed(step.cpuPerAudioSecond, 3),
    String(step.residentPeakMB),
    String(step.refused),
    String(step.lost),
    step.gaps === null ? '-' : String(step.gaps),
    fixed(step.generator.lateP95Ms, 1),
    fixed(step.othersCpuPerSecond),
    'held' in step ? (step.held ? 'yes' : 'NO') : '',
  ]);
  return formatColumns([[...HEAD, ...TAIL], ...lines]);
}

/** One line while the run goes on. */
export const formatStep = (step: StepResult): string =>
  `${step.system} ${step.streams}: WER ${fixed(step.werPercent)} %, word-final p50 ${fixed(step.wordFinalSeconds.p50)} p95 ${fixed(step.wordFinalSeconds.p95)} s, CPU ${fixed(step.cpuPerAudioSecond, 3)} s/s, refused ${step.refused}, lost ${step.lost}${step.failures.length === 0 ? '' : ` (${step.failures.join('; ')})`}`;

// The results on a terminal.

import { fixed, formatColumns } from '../capacity/table.ts';
import type { AllResults } from './results.ts';

export function formatResults(all: AllResults): string {
  const parts = [headOf(all), formatScaling(all), formatStreams(all), formatPeer(all), formatStages(all)];
  return parts.filter((part) => part !== '').join('\n\n');
}

function headOf({ bandwidth, environment, gpu }: AllResults): string {
  const { measuredGigabytesPerSecond: measured, statedGigabytesPerSecond: stated } = bandwidth;
  const { cores, cpu } = environment.machine as { cores: number; cpu?: string };
  const device = gpu === null ? 'no NVIDIA GPU' : `${gpu.name}, driver ${gpu.driver}, ${gpu.memoryMiB} MiB`;
  return [
    `${device}; ${cores} cores, ${cpu ?? 'unknown'}`,
    `memory of the device: ${fixed(measured, 0)} GB/s measured, ${fixed(stated, 0)} stated by its maker`,
  ].join('\n');
}

function formatScaling({ scaling }: AllResults): string {
  const rows = scaling.flatMap(({ model, points, precision, weights }) =>
    points.map((point) => [
      model,
      precision,
      weights,
      String(point.batch),
      fixed(point.runMs, 1),
      fixed(point.firstTokenMs, 1),
      fixed(point.stepMs),
      fixed(point.limitMs, 3),
      fixed(point.timesLimit, 1),
      fixed(point.windowMs),
      fixed(point.windowsPerSecond, 1),
    ]),
  );
  if (rows.length === 0) return '';
  const head = ['model', 'precision', 'weights', 'batch', 'run ms', 'first ms', 'step ms', 'limit ms', 'x limit', 'ms/window', 'windows/s'];
  return formatColumns([head, ...rows]);
}

function formatStreams({ replay, rule, served }: AllResults): string {
  const all = [...served.map((one) => ({ ...one, how: 'served' })), ...replay.map((one) => ({ ...one, how: 'recorded windows' }))];
  const rows = all.flatMap(({ how, model, precision, rungs }) =>
    [...rungs]
      .sort((a, b) => a.streams - b.streams)
      .map((rung) => [
        model,
        precision,
        how,
        String(rung.streams),
        fixed('windowSeconds' in rung ? rung.windowSeconds.p95 : null),
        fixed(rung.wordFinalSeconds.p50),
        fixed(rung.wordFinalSeconds.p95),
        fixed(rung.wordFinalSeconds.p99),
        fixed('meanBatch' in rung ? rung.meanBatch : null, 1),
        rung.inTime ? 'yes' : 'NO',
      ]),
  );
  if (rows.length === 0) return '';
  const head = ['model', 'precision', 'streams', 'N', 'window p95 s', 'word p50 s', 'p95 s', 'p99 s', 'batch', 'in time'];
  const held = all.map(({ boundSeconds, how, inTime, model, rungs }) => {
    if (rungs.length === 0) return `${model}, ${how}: nothing was measured`;
    const tried = Math.max(...rungs.map(({ streams }) => streams));
    return `${model}, ${how}: ${inTime} streams with p95 below ${boundSeconds} s${inTime === tried ? ', and no more were tried' : ''}`;
  });
  return [formatColumns([head, ...rows]), ...held, `in time: ${rule}`].join('\n');
}

function formatPeer({ peer, scaling }: AllResults): string {
  if (peer.points.length === 0) return peer.reason === null ? '' : `transformers: ${peer.reason}`;
  const rows = peer.points.map((point) => {
    const ours = scaling.find(({ model, precision }) => model === point.model && precision === peer.versions?.dtype);
    const rate = ours?.points.find(({ batch }) => batch === point.batch)?.windowsPerSecond ?? null;
    return [
      point.model,
      String(peer.versions?.dtype),
      `${point.positions / 50} s`,
      String(point.batch),
      fixed(point.runMs, 1),
      fixed(point.firstTokenMs, 1),
      fixed(point.stepMs),
      fixed(point.windowsPerSecond, 1),
      fixed(rate, 1),
      fixed(rate === null ? null : rate / point.windowsPerSecond, 1),
    ];
  });
  const head = ['transformers', 'precision', 'padded to', 'batch', 'run ms', 'first ms', 'step ms', 'windows/s', 'ours', 'ours/peer'];
  return formatColumns([head, ...rows]);
}

function formatStages({ stages }: AllResults): string {
  const rows = stages.map(({ grantedSeconds, name, problem, seconds }) => [
    name,
    fixed(grantedSeconds, 0),
    fixed(seconds, 0),
    problem === null ? '' : ` ${problem.split('\n')[0]!.slice(0, 100)}`,
  ]);
  return rows.length === 0 ? '' : formatColumns([['stage', 'given s', 'took s', ''], ...rows]);
}

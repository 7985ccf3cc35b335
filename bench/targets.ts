// The benchmark's table: each figure of ours beside faster-whisper's, with the target it has to meet.

import type { ClipResult, PacedSummary, SystemName } from './measure.ts';
import type { PythonWorker } from './python.ts';
import { cpuPerSecond, errorRate, type Rate, wallSeconds, wordCount, wordTimes } from './score.ts';

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  /** faster-whisper's figure; null where there is none. */
  readonly reference: number | null;
  /** For instance `at most 5.2`; empty: for information. */
  readonly target: string;
  /** Null: for information. */
  readonly pass: boolean | null;
}

interface Limit {
  readonly atMost?: number;
  readonly atLeast?: number;
}

function row(name: string, unit: string, ours: number, reference: number | null, limit: Limit | null): Row {
  if (limit === null) return { name, unit, ours, reference, target: '', pass: null };
  const { atMost, atLeast } = limit;
  const digits = unit === 'words' || unit === 'clips' ? 0 : 2;
  const target = atMost !== undefined ? `at most ${atMost.toFixed(digits)}` : `at least ${atLeast?.toFixed(digits)}`;
  return {
    name,
    unit,
    ours,
    reference,
    target,
    pass: (atMost === undefined || ours <= atMost) && (atLeast === undefined || ours >= atLeast),
  };
}

/** Points of word error rate above a rate of faster-whisper. */
const above = (rate: Rate, points: number): Limit => ({ atMost: rate.percent + points });

export async function tableRows(results: readonly ClipResult[], paced: PacedSummary | null, scorer: PythonWorker): Promise<Row[]> {
  const rows: Row[] = [];
  const of = (...sets: readonly string[]): readonly ClipResult[] => results.filter(({ clip }) => sets.includes(clip.set));
  const rate = (set: readonly ClipResult[], system: SystemName, unit?: 'word' | 'character'): Promise<Rate | null> =>
    errorRate(scorer, set, system, unit);

  for (const set of ['long', 'short', 'noisy', 'hard'] as const) {
    const clips = of(set);
    const [beam5, beam1, post, live5, live2] = await Promise.all(
      (['beam5', 'beam1', 'post', 'live5', 'live2'] as const).map((system) => rate(clips, system)),
    );
    if (!beam5 || !beam1 || !post || !live5) continue;
    const liveLimit = { long: { atMost: 5.2 }, short: above(beam1, 1), noisy: above(beam5, 1), hard: above(beam5, 1) }[set];
    const liveReference = set === 'short' ? beam1 : beam5;
    rows.push(
      row(
        `${set}: WER live 5.0/0.5, against ${set === 'short' ? 'greedy' : 'beam 5'}`,
        '%',
        live5.percent,
        liveReference.percent,
        liveLimit,
      ),
    );
    if (live2) rows.push(row(`${set}: WER live 2.0/0.5`, '%', live2.percent, beam5.percent, { atMost: 5.8 }));
    rows.push(row(`${set}: WER /transcribe, against beam 5`, '%', post.percent, beam5.percent, set === 'noisy' ? null : above(beam5, 0.3)));
    rows.push(row(`${set}: WER /transcribe, against greedy`, '%', post.percent, beam1.percent, null));
  }
  rows.push(...(await languageRows(of('lang'), rate)));
  rows.push(...(await silenceRows(of('nonspeech'), scorer)));
  for (const [system, name] of [
    ['postWords', '/transcribe'],
    ['live5', 'live'],
  ] as const) {
    const times = await wordTimes(scorer, of('long', 'short'), system);
    if (times === null) continue;
    rows.push(row(`word times ${name}: median difference (${times.matched} words)`, 'ms', times.medianMs, null, { atMost: 80 }));
    rows.push(row(`word times ${name}: 95th percentile`, 'ms', times.p95Ms, null, { atMost: 250 }));
  }
  rows.push(...speedRows(of('long'), of('long', 'short'), paced));
  const refused = results.flatMap(({ outcomes }) => Object.values(outcomes)).filter(({ refusal }) => refusal !== undefined);
  rows.push(row('clips refused, every route', 'clips', refused.length, null, { atMost: 0 }));
  return rows;
}

async function languageRows(
  clips: readonly ClipResult[],
  rate: (set: readonly ClipResult[], system: SystemName, unit?: 'word' | 'character') => Promise<Rate | null>,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const unit of ['word', 'character'] as const) {
    const beam5 = await rate(clips, 'beam5', unit);
    for (const [system, name] of [
      ['post', '/transcribe'],
      ['live5', 'live'],
    ] as const) {
      const ours = await rate(clips, system, unit);
      if (!ours || !beam5) continue;
      const limit = system === 'post' ? above(beam5, 1) : null;
      rows.push(
        row(`lang: ${unit === 'word' ? 'WER' : 'CER (zh ja ko)'} ${name}, against beam 5`, '%', ours.percent, beam5.percent, limit),
      );
    }
  }
  if (clips.length === 0) return rows;
  const right = (system: SystemName): number => clips.filter(({ clip, outcomes }) => outcomes[system]?.language === clip.language).length;
  for (const system of ['post', 'live5'] as const) {
    const name = system === 'post' ? '/transcribe' : 'live';
    rows.push(row(`lang: detected right ${name}, of ${clips.length}`, 'clips', right(system), right('beam5'), { atLeast: clips.length }));
  }
  return rows;
}

async function silenceRows(clips: readonly ClipResult[], scorer: PythonWorker): Promise<Row[]> {
  const rows: Row[] = [];
  for (const silent of [true, false]) {
    const chosen = clips.filter(({ clip, outcomes }) => clip.name.includes('silence') === silent && outcomes.post !== undefined);
    if (chosen.length === 0) continue;
    const words = async (system: SystemName): Promise<number> => {
      let total = 0;
      for (const { outcomes } of chosen) total += await wordCount(scorer, outcomes[system]?.text ?? '');
      return total;
    };
    const reference = await words('beam5Vad');
    for (const system of ['post', 'live5'] as const) {
      const name = `nonspeech: words on ${silent ? 'silence' : 'noise and music'} ${system === 'post' ? '/transcribe' : 'live'}`;
      rows.push(row(name, 'words', await words(system), reference, { atMost: silent ? 0 : reference }));
    }
  }
  return rows;
}

function speedRows(long: readonly ClipResult[], spoken: readonly ClipResult[], paced: PacedSummary | null): Row[] {
  const rows: Row[] = [];
  const seconds = long.reduce((sum, { clip }) => sum + clip.seconds, 0);
  const [post, beam5, beam1] = (['post', 'beam5', 'beam1'] as const).map((system) => wallSeconds(long, system)) as [number, number, number];
  if (seconds > 0 && post > 0) {
    rows.push(row('speed /transcribe on long: seconds of audio a second', 'x', seconds / post, seconds / beam5, null));
    rows.push(row('speed /transcribe over faster-whisper beam 5', 'x', beam5 / post, null, { atLeast: 2 }));
    rows.push(row('speed /transcribe over faster-whisper beam 1', 'x', beam1 / post, null, { atLeast: 1.3 }));
    const cpu = cpuPerSecond(long, 'post');
    if (cpu !== null) rows.push(row('CPU seconds a second of audio, /transcribe', 's', cpu, cpuPerSecond(long, 'beam5'), null));
  }
  const live = cpuPerSecond(long.length > 0 ? long : spoken, 'live5');
  if (live !== null) rows.push(row('CPU seconds a second of audio, live as fast as possible', 's', live, null, { atMost: 0.15 }));
  if (paced !== null && paced.clips > 0) {
    if (paced.cpuSeconds !== null)
      rows.push(row('CPU seconds a second of audio, live paced', 's', paced.cpuSeconds / paced.seconds, null, { atMost: 0.15 }));
    const besideOthers = paced.differentBesideOthers.length - paced.differentAlone.length;
    rows.push(row(`text changed by the pace, of ${paced.clips}`, 'clips', paced.differentAlone.length, null, { atMost: 0 }));
    rows.push(row(`text changed by other streams, of ${paced.clips}`, 'clips', besideOthers, null, null));
    rows.push(row('greatest lag of a final, paced, 4 streams', 's', paced.lagSeconds, null, null));
  }
  return rows;
}

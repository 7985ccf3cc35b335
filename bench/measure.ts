// Runs every clip through the systems that its set asks for, alternating their order so that a noisy machine hits all alike.

import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Clip } from './corpus.ts';
import type { PythonWorker } from './python.ts';
import { fasterWhisper, type LiveOptions, type Outcome, postFile, type Service, streamClip } from './systems.ts';

/** What was run on a clip. `beam5` and `beam1` are faster-whisper, the others the service. */
export type SystemName = 'post' | 'postWords' | 'live5' | 'live2' | 'paced5' | 'beam5' | 'beam1' | 'beam5Words' | 'beam5Vad';

export interface ClipResult {
  readonly clip: Clip;
  readonly outcomes: Partial<Record<SystemName, Outcome>>;
}

export interface MeasureOptions {
  readonly service: Service;
  readonly reference: PythonWorker;
  readonly quick: boolean;
  readonly progress: (text: string) => void;
}

const LIVE_5: LiveOptions = { chunkSeconds: 5, overlapSeconds: 0.5, pace: Infinity };
const LIVE_2: LiveOptions = { chunkSeconds: 2, overlapSeconds: 0.5, pace: Infinity };
/** Paced streams run this many at a time: they mostly wait. */
const PACED_STREAMS = 4;
const PACED_SECONDS = { full: 400, quick: 60 } as const;
/** faster-whisper would spend minutes on these to find nothing. */
const REFERENCE_LIMIT_SECONDS = 600;

export async function clipPcm(reference: PythonWorker, clip: Clip): Promise<Buffer> {
  const folder = fileURLToPath(new URL('../.cache/bench-pcm', import.meta.url));
  await mkdir(folder, { recursive: true });
  const out = `${folder}/${clip.name.replaceAll('/', '_')}.s16le`;
  await reference.request({ op: 'pcm', file: clip.file, out });
  return readFile(out);
}

type Job = readonly [SystemName, () => Promise<Outcome>];

function jobsOf(clip: Clip, pcm: Buffer, { service, reference, quick }: MeasureOptions): { alternating: Job[]; after: Job[] } {
  const language = clip.set === 'lang' || clip.set === 'nonspeech' ? null : clip.language;
  const post: Job = ['post', () => postFile(service, clip.file, language)];
  const live: Job = ['live5', () => streamClip(service, pcm, language, LIVE_5)];
  if (clip.set === 'nonspeech') {
    const vad: Job = ['beam5Vad', () => fasterWhisper(reference, clip, { beam: 5, language, vad: true })];
    const known = clip.seconds <= REFERENCE_LIMIT_SECONDS;
    if (!known && quick) return { alternating: [], after: [] };
    return { alternating: known ? [post, vad] : [post], after: [live] };
  }
  const after: Job[] = [live];
  if (clip.set === 'long') after.push(['live2', () => streamClip(service, pcm, language, LIVE_2)]);
  if (clip.set === 'long' || clip.set === 'short') {
    after.push(['postWords', () => postFile(service, clip.file, language, true)]);
    after.push(['beam5Words', () => fasterWhisper(reference, clip, { beam: 5, language, words: true })]);
  }
  return {
    alternating: [
      post,
      ['beam5', () => fasterWhisper(reference, clip, { beam: 5, language })],
      ['beam1', () => fasterWhisper(reference, clip, { beam: 1, language })],
    ],
    after,
  };
}

export async function measureClips(clips: readonly Clip[], options: MeasureOptions): Promise<ClipResult[]> {
  const results: ClipResult[] = [];
  for (const [index, clip] of clips.entries()) {
    options.progress(`${index + 1}/${clips.length} ${clip.name}`);
    const { alternating, after } = jobsOf(clip, await clipPcm(options.reference, clip), options);
    const turn = alternating.length === 0 ? 0 : index % alternating.length;
    const outcomes: Partial<Record<SystemName, Outcome>> = {};
    for (const [name, run] of [...alternating.slice(turn), ...alternating.slice(0, turn), ...after]) outcomes[name] = await run();
    results.push({ clip, outcomes });
  }
  return results;
}

export interface PacedSummary {
  readonly clips: number;
  readonly seconds: number;
  /** Clips whose text differs from the same stream sent as fast as possible and alone. */
  readonly differentBesideOthers: readonly string[];
  /** Those of them that differ when paced alone too: there the pace is the cause, not the company. */
  readonly differentAlone: readonly string[];
  /** Of all paced streams together; null where the process cannot be seen. */
  readonly cpuSeconds: number | null;
  /** Greatest delay of each final's audio. */
  readonly lagSeconds: number;
}

/** The same streams again at the speed of speech, several at a time; compares with the fast ones. */
export async function measurePaced(results: readonly ClipResult[], options: MeasureOptions): Promise<PacedSummary> {
  const limitSeconds = options.quick ? PACED_SECONDS.quick : PACED_SECONDS.full;
  let seconds = 0;
  const chosen = results.filter(({ clip, outcomes }) => {
    if (clip.set !== 'long' && clip.set !== 'short') return false;
    if (outcomes.live5 === undefined || clip.seconds > 120 || seconds + clip.seconds > limitSeconds) return false;
    seconds += clip.seconds;
    return true;
  });
  const queue = [...chosen].sort((a, b) => b.clip.seconds - a.clip.seconds);
  const before = options.service.usage?.().cpuSeconds;
  const changed: ClipResult[] = [];
  let lagSeconds = 0;
  const paced = async ({ clip }: ClipResult): Promise<Outcome> => {
    options.progress(`paced ${clip.name}`);
    return streamClip(options.service, await clipPcm(options.reference, clip), clip.language, { ...LIVE_5, pace: 1 });
  };
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const outcome = await paced(next);
      next.outcomes.paced5 = outcome;
      lagSeconds = Math.max(lagSeconds, outcome.lagSeconds ?? 0);
      if (outcome.text !== next.outcomes.live5?.text) changed.push(next);
    }
  };
  await Promise.all(Array.from({ length: PACED_STREAMS }, worker));
  const after = options.service.usage?.().cpuSeconds;
  const differentAlone: string[] = [];
  for (const result of changed) if ((await paced(result)).text !== result.outcomes.live5?.text) differentAlone.push(result.clip.name);
  return {
    clips: chosen.length,
    seconds,
    differentBesideOthers: changed.map(({ clip }) => clip.name),
    differentAlone,
    cpuSeconds: before === undefined || after === undefined ? null : after - before,
    lagSeconds,
  };
}

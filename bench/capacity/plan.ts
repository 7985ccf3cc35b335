// What each stream plays: its own sequence of clips with silence between them, the same in every run, ending where a clip ends.

export const SAMPLE_RATE = 16_000;
const SILENCE_SECONDS = 0.8;
/** Stream k begins this many clips after stream k - 1. */
const STRIDE = 7;
const SHUFFLE_SEED = 20_240_611;

export interface PcmClip {
  readonly name: string;
  /** s16le, 16 kHz, mono. */
  readonly pcmFile: string;
  readonly sampleCount: number;
  /** What is said in it. */
  readonly text: string;
}

export interface PlanPart {
  readonly pcmFile: string;
  /** Where it begins in the stream. */
  readonly startSample: number;
  readonly sampleCount: number;
}

export interface StreamPlan {
  readonly index: number;
  /** In order, without overlap; between them is silence. */
  readonly parts: readonly PlanPart[];
  readonly sampleCount: number;
  /** What is said in the whole stream. */
  readonly text: string;
}

/** A seeded permutation (mulberry32 and Fisher-Yates): neighbours in a manifest are often of one speaker. */
export function shuffled<Item>(items: readonly Item[], seed = SHUFFLE_SEED): Item[] {
  const order = [...items];
  let state = seed >>> 0;
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}

/**
 * Stream `index` of at most `seconds`: goes round the clips from one of its own, leaves out what no longer fits, and stops when
 * nothing does. A plan does not depend on the number of streams, so that the streams of a small step are among those of a large one.
 */
export function planStream(clips: readonly PcmClip[], index: number, seconds: number): StreamPlan {
  const order = shuffled(clips);
  const limit = Math.round(seconds * SAMPLE_RATE);
  const silence = Math.round(SILENCE_SECONDS * SAMPLE_RATE);
  const parts: PlanPart[] = [];
  const texts: string[] = [];
  let end = 0;
  let passed = 0;
  for (let at = (index * STRIDE) % order.length; passed < order.length; at = (at + 1) % order.length) {
    const clip = order[at]!;
    const startSample = parts.length === 0 ? 0 : end + silence;
    if (startSample + clip.sampleCount > limit) {
      passed++;
      continue;
    }
    passed = 0;
    parts.push({ pcmFile: clip.pcmFile, startSample, sampleCount: clip.sampleCount });
    texts.push(clip.text);
    end = startSample + clip.sampleCount;
  }
  if (parts.length === 0) throw new Error(`no clip of at most ${seconds} s`);
  return { index, parts, sampleCount: end, text: texts.join(' ') };
}

/** Moments at which streams begin, spread evenly over one chunk: no two reach a chunk's end together. */
export const staggerMs = (streams: number, chunkSeconds: number): number[] =>
  Array.from({ length: streams }, (_, index) => (index * chunkSeconds * 1000) / streams);

/** When frame `frame` is due: a microphone hands it over when it is full. */
export const frameDueMs = (startMs: number, frame: number, frameSeconds: number, pace: number): number =>
  startMs + ((frame + 1) * frameSeconds * 1000) / pace;

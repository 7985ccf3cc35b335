// What the served streams play: raw PCM of one's own, or the recording in docs/, again and again.

import { createReadStream } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { StreamOrder } from '../capacity/generator-messages.ts';
import { type PcmClip, type PlanPart, SAMPLE_RATE, type StreamPlan, staggerMs } from '../capacity/plan.ts';
import { type Origin, product } from './product.ts';

const BYTES_PER_SAMPLE = 2;
const RECORDING = fileURLToPath(new URL('../../docs/speech.ogg', import.meta.url));

/** Every `.s16le` of a folder: mono, 16 kHz. */
export async function clipsOfFolder(folder: string): Promise<PcmClip[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.s16le')).sort();
  if (names.length === 0) throw new Error(`--speech ${folder}: holds no .s16le files`);
  return Promise.all(names.map((name) => clipOf(name, join(folder, name))));
}

/** The documentation's recording (8 s), decoded by the package. @param dir where it is written */
export async function clipsOfRecording(from: Origin, dir: string): Promise<PcmClip[]> {
  const { decodeContainer } = await product(from, 'audio/container');
  const blocks: Uint8Array[] = [];
  for await (const block of decodeContainer(createReadStream(RECORDING)))
    blocks.push(new Uint8Array(Int16Array.from(block, (sample) => Math.round(sample * 32_767)).buffer));
  const pcmFile = join(dir, 'speech.s16le');
  await writeFile(pcmFile, Buffer.concat(blocks));
  return [await clipOf('speech', pcmFile)];
}

const clipOf = async (name: string, pcmFile: string): Promise<PcmClip> => ({
  name,
  pcmFile,
  sampleCount: Math.floor((await stat(pcmFile)).size / BYTES_PER_SAMPLE),
  text: '',
});

const SILENCE_SAMPLES = 0.8 * SAMPLE_RATE;

/** Streams that play so long each, their starts spread over one chunk. */
export const ordersFor = (clips: readonly PcmClip[], streams: number, seconds: number, chunkSeconds: number): StreamOrder[] =>
  staggerMs(streams, chunkSeconds).map((offsetMs, index) => ({
    plan: playFor(clips, index, seconds),
    connectAfterMs: offsetMs,
    audioAfterMs: offsetMs,
  }));

/** What stream `index` plays: the clips round and round from one of its own, and exactly so long, since no text is compared. */
export function playFor(clips: readonly PcmClip[], index: number, seconds: number): StreamPlan {
  const sampleCount = Math.round(seconds * SAMPLE_RATE);
  const parts: PlanPart[] = [];
  let startSample = 0;
  for (let at = index; startSample < sampleCount; at++) {
    const clip = clips[at % clips.length]!;
    parts.push({ pcmFile: clip.pcmFile, startSample, sampleCount: Math.min(clip.sampleCount, sampleCount - startSample) });
    startSample += clip.sampleCount + SILENCE_SAMPLES;
  }
  return { index, parts, sampleCount, text: '' };
}

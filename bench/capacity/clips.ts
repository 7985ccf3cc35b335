// The speech that streams play: English clips of the corpora, decoded once into .cache.

import { mkdir, readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { benchClips } from '../corpus.ts';
import type { PythonWorker } from '../python.ts';
import type { PcmClip, StreamPlan } from './plan.ts';

const BYTES_PER_SAMPLE = 2;

/** @param decoder runs faster_whisper_worker.py */
export async function speechClips(corpora: readonly string[], decoder: PythonWorker): Promise<PcmClip[]> {
  const folder = fileURLToPath(new URL('../../.cache/bench-pcm', import.meta.url));
  await mkdir(folder, { recursive: true });
  const clips = (await benchClips({ corpora, sets: ['short', 'long'], quick: false })).filter(({ language }) => language === 'en');
  if (clips.length === 0) throw new Error(`no English short or long clips in ${corpora.join(', ')}`);
  const decoded: PcmClip[] = [];
  for (const { name, file, text } of clips) {
    const pcmFile = `${folder}/${name.replaceAll('/', '_')}.s16le`;
    await decoder.request({ op: 'pcm', file, out: pcmFile });
    decoded.push({ name, pcmFile, sampleCount: (await stat(pcmFile)).size / BYTES_PER_SAMPLE, text });
  }
  return decoded;
}

/** All that a stream plays, silence included. */
export async function planPcm({ parts, sampleCount }: StreamPlan): Promise<Float32Array> {
  const pcm = new Float32Array(sampleCount);
  for (const { pcmFile, startSample, sampleCount: count } of parts) {
    const bytes = await readFile(pcmFile);
    for (let i = 0; i < count; i++) pcm[startSample + i] = bytes.readInt16LE(BYTES_PER_SAMPLE * i) / 32_768;
  }
  return pcm;
}

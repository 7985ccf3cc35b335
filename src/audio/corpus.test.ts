// decodeContainer over the shared corpus: every format gives the clip, every bad file an orderly end, again and again.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { WhisperError } from '../core/errors.ts';
import { decodeContainer } from './container.ts';
import { createRawDecoder } from './raw-pcm.ts';

const CORPUS = fileURLToPath(new URL('../../../shared/corpus', import.meta.url));
const skip = existsSync(CORPUS) ? false : 'needs ../shared/corpus';

interface Clip {
  readonly file: string;
  readonly kind: string;
  readonly seconds: number | null;
  readonly expect?: string;
}

const manifest = (): Clip[] => {
  if (skip) return [];
  const lines = readFileSync(join(CORPUS, 'manifest.jsonl'), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Clip);
};
const bytesOf = (file: string): Buffer => readFileSync(join(CORPUS, file));

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1500) yield bytes.subarray(at, at + 1500);
}

async function decode(bytes: Uint8Array, live: boolean): Promise<Float32Array> {
  const samples: number[] = [];
  for await (const block of decodeContainer(pieces(bytes), { live })) samples.push(...block);
  return Float32Array.from(samples);
}

/** Best correlation within 50 ms of delay; polarity does not matter. */
function likeness(pcm: Float32Array, reference: Float32Array): number {
  let best = 0;
  for (let lag = -800; lag <= 800 && best < 0.95; lag += 1) {
    let [ab, aa, bb] = [0, 0, 0];
    for (let i = 2000; i < Math.min(pcm.length, reference.length) - 2000; i += 2) {
      const [a, b] = [pcm[i + lag]!, reference[i]!];
      ab += a * b;
      aa += a * a;
      bb += b * b;
    }
    best = Math.max(best, Math.abs(ab) / Math.sqrt(aa * bb));
  }
  return best;
}

const REFERENCE = 'formats/truck.s16-16k.wav';
/** Of AMR files the manifest's length is an estimate from the bit rate, and the clip is trimmed: frames of 20 ms count. */
const AMR_SECONDS: Readonly<Record<string, number>> = {
  'formats/truck.amrnb-8k.amr': 218 * 0.02,
  'formats/truck.amrnb-dtx-8k.amr': 279 * 0.02,
};
const TOLERANCE_SECONDS = 0.06;

test('every format of the corpus gives the clip, as a file and live', { skip }, async (t) => {
  const reference = await decode(bytesOf(REFERENCE), false);
  for (const { file, seconds } of manifest().filter((clip) => clip.kind === 'format' && !clip.file.endsWith('.pcm'))) {
    await t.test(file, async () => {
      for (const live of [false, true]) {
        const pcm = await decode(bytesOf(file), live);
        // Some containers only know their length with the encoder's padding; the clip's own length is right too.
        const lengths = AMR_SECONDS[file] ? [AMR_SECONDS[file]] : [seconds ?? 0, reference.length / 16_000];
        const off = Math.min(...lengths.map((length) => Math.abs(pcm.length / 16_000 - length)));
        assert.ok(off <= TOLERANCE_SECONDS, `${pcm.length / 16_000} s, expected ${lengths.join(' or ')}`);
        if (!AMR_SECONDS[file]) assert.ok(likeness(pcm, reference) > 0.9);
      }
    });
  }
});

test('raw PCM of the corpus gives the clip', { skip }, async () => {
  const pcm = createRawDecoder({ encoding: 'pcm_s16le' }).push(bytesOf('formats/truck.s16le-16k.pcm'));
  assert.deepEqual(pcm, await decode(bytesOf(REFERENCE), false));
});

/** What a client may be told; all are 4xx. */
const ORDERLY = new Set(['undecodable_audio', 'no_audio', 'audio_too_long']);

test('every bad file ends in an orderly way, fifty times over, without a leak', { skip }, async (t) => {
  const bad = manifest().filter((clip) => clip.kind === 'bad');
  const outcome = async (file: string, live: boolean): Promise<string> => {
    try {
      return (await decode(bytesOf(file), live)).length > 0 ? 'audio' : 'nothing';
    } catch (error) {
      if (error instanceof WhisperError) return error.code;
      throw error;
    }
  };
  for (const { file, expect } of bad) {
    await t.test(`${file}: ${expect}`, async () => {
      for (const live of [false, true]) {
        const got = await outcome(file, live);
        assert.ok(ORDERLY.has(got) || (expect !== 'reject' && got === 'audio'), got);
      }
    });
  }
  await t.test('memory stays', async () => {
    let before = 0;
    for (let turn = 0; turn < 50; turn++) {
      if (turn === 10) before = process.memoryUsage.rss();
      for (const { file } of bad) await outcome(file, turn % 5 === 0);
    }
    const grownMegabytes = (process.memoryUsage.rss() - before) / 2 ** 20;
    assert.ok(grownMegabytes < 40, `${grownMegabytes} MiB more after 40 rounds`);
  });
});

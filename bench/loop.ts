// node --import tsx bench/loop.ts: the decoder's loop inside the graph beside the loop outside of it, on the processor: texts and times.

import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { decodeContainer } from '../src/audio/container.ts';
import { defaultCacheDir, modelAccess } from '../src/cli/environment.ts';
import { ModelSession } from '../src/engine/model-session.ts';
import { SAMPLES_PER_POSITION } from '../src/engine/positions.ts';
import { buildMasks, startTokens, tokenLimit } from '../src/engine/rules.ts';
import { seededRandom } from '../src/engine/sampling.ts';
import { type EncodedJob, WindowSession } from '../src/engine/window-session.ts';
import { buildGraphs, buildWindowGraph } from '../src/model/build-graphs.ts';
import { readModelConfig } from '../src/model/config.ts';
import type { Precision } from '../src/model/graph-layers.ts';
import { locateModel } from '../src/model/locate.ts';
import { loadTokenizer } from '../src/tokenizer/tokenizer.ts';
import { decodeTogether } from '../test/decode-batch.ts';
import { benchClips } from './corpus.ts';
import { environmentOf, writeResult } from './report.ts';

const HELP = `node --import tsx bench/loop.ts [options]

Decodes windows of a corpus both ways, in turns, alone and in batches; every text is compared.

  --corpus FOLDER      with manifest.jsonl (default ../shared/corpus)
  --precisions A,B     of int8, float32 (default both)
  --batches A,B        windows that are decoded together (default 1,4,8)
  --beams N            (default 1)
  --windows N          at most so many (default 48)
  --model NAME         (default base)      --out FILE`;

const SAMPLE_RATE = 16_000;
/** Of a live stream's window. */
const WINDOW_SECONDS = 10;
const MARGIN_SECONDS = 3;

const { values: options } = parseArgs({
  options: {
    corpus: { type: 'string', default: '../shared/corpus' },
    precisions: { type: 'string', default: 'int8,float32' },
    batches: { type: 'string', default: '1,4,8' },
    beams: { type: 'string', default: '1' },
    windows: { type: 'string', default: '48' },
    model: { type: 'string', default: 'base' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(HELP);
  process.exit(0);
}

const environment = await environmentOf({});
const cacheDir = process.env.WHISPER_CACHE || defaultCacheDir();
const { dir: modelDir, name } = await locateModel(options.model, { cacheDir, ...modelAccess() });
const config = { ...(await readModelConfig(modelDir)), name };
const tokenizer = await loadTokenizer(modelDir, { multilingual: config.multilingual });
const { mask, firstMask } = buildMasks(config, tokenizer);
const decoding = { beams: Number(options.beams), endOfText: tokenizer.special.endOfText, noSpeech: tokenizer.special.noSpeech };

async function firstSeconds(file: string): Promise<Float32Array> {
  const samples = new Float32Array(WINDOW_SECONDS * SAMPLE_RATE);
  let filled = 0;
  for await (const block of decodeContainer(createReadStream(file))) {
    const part = block.subarray(0, samples.length - filled);
    samples.set(part, filled);
    filled += part.length;
    if (filled === samples.length) break;
  }
  return samples.subarray(0, filled);
}

/** The first seconds of each clip, as windows with their margin. */
async function windowsOf(): Promise<EncodedJob[]> {
  const clips = (await benchClips({ corpora: [options.corpus], sets: ['short', 'long', 'noisy', 'lang'], quick: false })).slice(
    0,
    Number(options.windows),
  );
  const windows: EncodedJob[] = [];
  for (const clip of clips) {
    const audio = await firstSeconds(clip.file);
    const count = audio.length;
    const positions = Math.ceil((count + MARGIN_SECONDS * SAMPLE_RATE) / SAMPLES_PER_POSITION / 25) * 25;
    const pcm = new Float32Array(positions * SAMPLES_PER_POSITION);
    pcm.set(audio);
    const initial = startTokens(tokenizer, config.multilingual ? (clip.language ?? 'en') : 'en', 'transcribe');
    windows.push({
      pcm,
      job: {
        initial,
        startIndex: 0,
        alignIndex: initial.length - 1,
        mask,
        firstMask,
        limit: tokenLimit(count / SAMPLE_RATE),
        temperature: 0,
        random: seededRandom(1),
        cancelled: () => false,
      },
    });
  }
  return windows;
}

const windows = await windowsOf();
const rows: { precision: string; batch: number; windows: number; steppedMs: number; loopMs: number; ratio: number; different: number }[] =
  [];
for (const precision of options.precisions.split(',') as Precision[]) {
  const build = { modelDir, config, precision, graphsDir: join(cacheDir, 'graphs'), onMessage: console.error };
  const stepped = await ModelSession.load(await buildGraphs(build), config, 1);
  const loop = await WindowSession.load(await buildWindowGraph(build), config, 'cpu', 1);
  for (const batch of options.batches.split(',').map(Number)) {
    const row = { precision, batch, windows: 0, steppedMs: 0, loopMs: 0, ratio: 0, different: 0 };
    // The first batch of a shape allocates: it is decoded once before.
    for (let first = 0; first + batch <= windows.length; first += batch) {
      const some = windows.slice(first, first + batch);
      if (first === 0) await Promise.all([decodeTogether(stepped, some, decoding), loop.decode(some, decoding)]);
      const startMs = performance.now();
      const { texts: expected } = await decodeTogether(stepped, some, decoding);
      const middleMs = performance.now();
      const { texts } = await loop.decode(some, decoding);
      row.steppedMs += middleMs - startMs;
      row.loopMs += performance.now() - middleMs;
      row.windows += batch;
      row.different += texts.filter(({ tokens }, w) => String(tokens) !== String(expected[w]?.tokens)).length;
    }
    row.ratio = row.loopMs / row.steppedMs;
    rows.push(row);
    console.log(
      `${precision}, ${batch} together: ${row.windows} windows, stepped ${row.steppedMs.toFixed(0)} ms, loop ${row.loopMs.toFixed(0)} ms ` +
        `(${row.ratio.toFixed(2)}), ${row.different} texts differ`,
    );
  }
  await Promise.all([stepped.close(), loop.close()]);
}
console.log(`written: ${await writeResult(options.out ?? null, 'loop', { environment, options, rows })}`);

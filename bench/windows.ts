// npm run bench:windows: what a rule of the engine costs and what it is worth: word errors over processor time, a value at a time.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultCacheDir, modelAccess } from '../src/cli/environment.ts';
import { createTranscriber } from '../src/engine/create.ts';
import { createSpeechDetector } from '../src/engine/speech-detector.ts';
import type { SpeechDetector, Transcriber } from '../src/engine/transcriber.ts';
import { locateModel } from '../src/model/locate.ts';
import type { StreamEvent } from '../src/protocol/stream-messages.ts';
import { createLiveSession } from '../src/streaming/live.ts';
import { planPcm, speechClips } from './capacity/clips.ts';
import { planStream, SAMPLE_RATE, type StreamPlan } from './capacity/plan.ts';
import { countErrors, type ErrorCount } from './capacity/wer.ts';
import { benchPython, PythonWorker } from './python.ts';
import { environmentOf, writeResult } from './report.ts';
import { parseWindowsOptions, type Variant, variantsOf } from './windows/options.ts';
import { plotVariants, type VariantPoint } from './windows/plot.ts';

/** Streams that run side by side: as many windows as two engines batch. */
const STREAMS_AT_ONCE = 8;
const PUSH_SAMPLES = SAMPLE_RATE;

/** The stream's finals, the audio fed as fast as it is taken. */
async function textOf(plan: StreamPlan, transcriber: Transcriber, speechDetector: SpeechDetector): Promise<string> {
  const texts: string[] = [];
  const session = createLiveSession(
    { transcriber, speechDetector },
    {
      chunkDuration: 5,
      overlap: 0.5,
      useContext: true,
      language: 'en',
      task: 'transcribe',
      prompt: '',
      interimResults: false,
      wordTimestamps: false,
      signal: new AbortController().signal,
      onEvent: (event: StreamEvent) => {
        if (event.type === 'transcript' && event.is_final) texts.push(event.text);
      },
    },
  );
  const pcm = await planPcm(plan);
  for (let start = 0; start < pcm.length; start += PUSH_SAMPLES) session.push(pcm.subarray(start, start + PUSH_SAMPLES));
  await session.end();
  return texts.join(' ');
}

const parsed = parseWindowsOptions(process.argv.slice(2));
if ('help' in parsed) {
  console.log(parsed.help);
  process.exit(0);
}
const { options } = parsed;
const environment = await environmentOf({});
const python = await benchPython();
const decoder = new PythonWorker(python, 'faster_whisper_worker.py');
const scorer = new PythonWorker(python, 'score.py');
const clips = await speechClips(options.corpora, decoder).finally(() => decoder.close());
const plans = Array.from({ length: options.streams }, (_, index) => planStream(clips, index, options.seconds));
const audioSeconds = plans.reduce((sum, { sampleCount }) => sum + sampleCount, 0) / SAMPLE_RATE;
const cacheDir = process.env.WHISPER_CACHE || defaultCacheDir();
const { dir: modelDir } = await locateModel(options.model, { cacheDir, ...modelAccess() });

async function measure({ label, rule, value, rules }: Variant): Promise<VariantPoint> {
  const transcriber = await createTranscriber({ modelDir, graphsDir: join(cacheDir, 'graphs'), engines: options.engines, rules });
  const detector = await createSpeechDetector();
  try {
    const counts: ErrorCount[] = [];
    const waiting = [...plans];
    const before = process.cpuUsage();
    const texts = new Map<StreamPlan, string>();
    const worker = async (): Promise<void> => {
      for (let plan = waiting.shift(); plan !== undefined; plan = waiting.shift())
        texts.set(plan, await textOf(plan, transcriber, detector));
    };
    await Promise.all(Array.from({ length: STREAMS_AT_ONCE }, worker));
    const { user, system } = process.cpuUsage(before);
    for (const plan of plans) counts.push(await countErrors(scorer, plan, texts.get(plan) ?? ''));
    const [errors, words] = [counts.reduce((sum, { errors }) => sum + errors, 0), counts.reduce((sum, { length }) => sum + length, 0)];
    return { label, rule, value, errors, words, werPercent: (100 * errors) / words, cpuPerSecond: (user + system) / 1e6 / audioSeconds };
  } finally {
    await transcriber.close();
    await detector.close();
  }
}

const points: VariantPoint[] = [];
const variants = variantsOf(options.vary);
for (const [index, variant] of variants.entries()) {
  const point = await measure(variant);
  points.push(point);
  const { label, errors, words, werPercent, cpuPerSecond } = point;
  console.log(
    `${index + 1}/${variants.length} ${label}: ${werPercent.toFixed(2)} % word errors (${errors} of ${words}), ` +
      `${cpuPerSecond.toFixed(4)} processor seconds a second (${(cpuPerSecond / (points[0] as VariantPoint).cpuPerSecond).toFixed(2)} of the default)`,
  );
}
scorer.close();
const { corpora: _, out, ...settings } = options;
const path = await writeResult(out, 'windows', { environment, settings, audioSeconds, points });
const plot = `${path.replace(/\.json$/, '')}.svg`;
const { cpu, cores } = environment.machine as { cpu?: string; cores: number };
await writeFile(
  plot,
  `${await plotVariants(points, `${options.model}, int8, ${Math.round(audioSeconds)} s; ${cores} cores, ${cpu ?? 'unknown'}`)}\n`,
);
console.log(`${path}\n${plot}`);

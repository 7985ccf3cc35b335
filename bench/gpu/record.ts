// Records recorded-windows.json: plays speech to real sessions on the real engine and notes what they ask of it. Needs the corpus and base.
//
//   node --import tsx bench/gpu/record.ts [--corpus FOLDER] [--streams N] [--seconds N]

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { defaultCacheDir, modelAccess } from '../../src/cli/environment.ts';
import { SAMPLE_RATE } from '../../src/core/units.ts';
import { createTranscriber } from '../../src/engine/create.ts';
import { createSpeechDetector } from '../../src/engine/speech-detector.ts';
import type { SpeechDetector, TranscribeRequest, TranscribeResult, Transcriber } from '../../src/engine/transcriber.ts';
import { locateModel } from '../../src/model/locate.ts';
import type { StreamEvent } from '../../src/protocol/stream-messages.ts';
import { createLiveSession } from '../../src/streaming/live.ts';
import { planPcm, speechClips } from '../capacity/clips.ts';
import { planStream, type StreamPlan } from '../capacity/plan.ts';
import { benchPython, PythonWorker } from '../python.ts';
import { RECORDING_FILE, type RecordedWindow, type Recording } from './recorded.ts';

const CHUNK_SECONDS = 5;
const OVERLAP_SECONDS = 0.5;
const FRAME_SAMPLES = SAMPLE_RATE / 10;

const rounded = (value: number): number => Number(value.toFixed(2));

interface Parts {
  readonly transcriber: Transcriber;
  readonly speechDetector: SpeechDetector;
}

/** Audio comes frame by frame and waits for every answer, so a word's age is what the session's rules make it, and no engine's time. */
async function recordStream({ transcriber, speechDetector }: Parts, plan: StreamPlan): Promise<RecordedWindow[]> {
  const windows: { window: Omit<RecordedWindow, 'wordAges'>; wordAges: number[] }[] = [];
  let receivedSamples = 0;
  let outstanding = 0;
  const counted = async <Answer>(answer: Promise<Answer>): Promise<Answer> => {
    outstanding++;
    return answer.finally(() => outstanding--);
  };
  const note = (request: TranscribeRequest, { words }: TranscribeResult): void => {
    const { pcm, prefix = [], prefixSamples = 0 } = request;
    windows.push({
      window: {
        atSeconds: rounded(receivedSamples / SAMPLE_RATE),
        seconds: rounded(pcm.length / SAMPLE_RATE),
        prefixSeconds: rounded(prefixSamples / SAMPLE_RATE),
        prefixTokens: prefix.length,
        tokens: words.reduce((sum, { tokens }) => sum + tokens.length, 0),
      },
      wordAges: [],
    });
  };
  const onEvent = (event: StreamEvent): void => {
    if (event.type !== 'transcript' || !event.is_final) return;
    const ages = (event.words ?? []).map(({ end }) => rounded(receivedSamples / SAMPLE_RATE - end));
    windows.at(-1)?.wordAges.push(...ages);
  };
  const session = createLiveSession(
    {
      transcriber: {
        ...transcriber,
        info: transcriber.info,
        load: () => transcriber.load(),
        close: async () => undefined,
        async transcribe(request, signal) {
          const result = await counted(transcriber.transcribe(request, signal));
          note(request, result);
          return result;
        },
      },
      speechDetector: { detect: (pcm, signal) => counted(speechDetector.detect(pcm, signal)), close: async () => undefined },
      // Audio's own clock: nothing is ahead of it.
      now: () => (receivedSamples / SAMPLE_RATE) * 1000,
    },
    {
      chunkDuration: CHUNK_SECONDS,
      overlap: OVERLAP_SECONDS,
      useContext: true,
      language: 'en',
      task: 'transcribe',
      prompt: '',
      interimResults: false,
      wordTimestamps: true,
      signal: new AbortController().signal,
      onEvent,
    },
  );
  const settled = async (): Promise<void> => {
    do await nextTurn();
    while (outstanding > 0);
    await nextTurn();
  };
  for (const frame of framesOf(await planPcm(plan))) {
    receivedSamples += frame.length;
    session.push(frame);
    await settled();
  }
  // The flush at a stream's end is unlike other windows: it is left out.
  session.close();
  return windows.map(({ window, wordAges }) => ({ ...window, wordAges }));
}

function* framesOf(pcm: Float32Array): Generator<Float32Array> {
  for (let start = 0; start < pcm.length; start += FRAME_SAMPLES) yield pcm.slice(start, start + FRAME_SAMPLES);
}

async function record(): Promise<void> {
  const { values } = parseArgs({
    options: {
      corpus: { type: 'string', default: '../shared/corpus' },
      streams: { type: 'string', default: '8' },
      seconds: { type: 'string', default: '60' },
    },
  });
  const decoder = new PythonWorker(await benchPython(), 'faster_whisper_worker.py');
  const clips = await speechClips([values.corpus], decoder).finally(() => decoder.close());
  const cacheDir = process.env.WHISPER_CACHE || defaultCacheDir();
  const { dir } = await locateModel('base', { cacheDir, ...modelAccess() });
  const transcriber = await createTranscriber({ modelDir: dir, modelName: 'base', graphsDir: join(cacheDir, 'graphs') });
  const speechDetector = await createSpeechDetector();
  const streams: RecordedWindow[][] = [];
  for (let index = 0; index < Number(values.streams); index++) {
    const windows = await recordStream({ transcriber, speechDetector }, planStream(clips, index, Number(values.seconds)));
    console.error(`stream ${index}: ${windows.length} windows`);
    streams.push(windows);
  }
  await Promise.all([transcriber.close(), speechDetector.close()]);
  const recording: Recording = { chunkSeconds: CHUNK_SECONDS, overlapSeconds: OVERLAP_SECONDS, streams };
  writeFileSync(RECORDING_FILE, `${JSON.stringify(recording)}\n`);
}

await record();

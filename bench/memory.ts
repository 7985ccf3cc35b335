// node --import tsx bench/memory.ts: start times, resident memory with four live streams, over an hour-long stream and an hour-long file.

import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { parseArgs } from 'node:util';
import { ServerProcess } from '../test/server-process.ts';
import { streamAudio } from '../test/stream-audio.ts';
import { benchClips, type Clip } from './corpus.ts';
import { clipPcm } from './measure.ts';
import { benchPython, PythonWorker } from './python.ts';
import { environmentOf, formatTable, writeResult } from './report.ts';
import { ResidentSampler } from './resident-sampler.ts';
import { postFile } from './systems.ts';
import type { Row } from './targets.ts';

const HELP = `node --import tsx bench/memory.ts [options]     (run npm run build first)

  --corpus FOLDER   with manifest.jsonl (default ../shared/corpus)
  --seconds N       length of the long stream and file (default 3600)
  --parts A,B       of start, streams, stream, file (default all)
  --cold            also start with an empty cache: downloads and builds the model
  --threads N       (default 2)      --model NAME (default base)      --out FILE`;

const PCM_BYTES_PER_SECOND = 32_000;
const LIVE_STREAMS = 4;
const LIVE_SECONDS = 60;

/** Seconds of PCM, the clips over and over; nothing is held but the clips. */
function* repeated(clips: readonly Buffer[], seconds: number): Generator<Buffer> {
  let left = seconds * PCM_BYTES_PER_SECOND;
  while (left > 0) {
    for (const clip of clips) {
      if (left <= 0) return;
      yield clip.subarray(0, left);
      left -= Math.min(left, clip.length);
    }
  }
}

function wavHeader(dataBytes: number): Buffer {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + dataBytes, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(16_000, 24);
  header.writeUInt32LE(PCM_BYTES_PER_SECOND, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(dataBytes, 40);
  return header;
}

async function startTimes(args: readonly string[], clip: Clip, environment: Record<string, string>, name: string): Promise<Row[]> {
  const startMs = performance.now();
  const server = await ServerProcess.start({ entry: 'compiled', args, environment });
  const readySeconds = (performance.now() - startMs) / 1000;
  try {
    const times: number[] = [];
    for (let i = 0; i < 5; i++) times.push((await postFile({ url: server.url, usage: null }, clip.file, 'en')).wallSeconds);
    const [first = 0, ...others] = times;
    const usual = others.sort((a, b) => a - b)[Math.floor(others.length / 2)] ?? 0;
    const warm = name === 'warm';
    return [
      {
        name: `${name} start: until ready`,
        unit: 's',
        ours: readySeconds,
        reference: null,
        target: warm ? 'at most 5' : '',
        pass: warm ? readySeconds <= 5 : null,
      },
      // A fifth is what one request differs from the next on a machine that does other things too
      {
        name: `${name} start: first request over the usual one`,
        unit: 'x',
        ours: first / usual,
        reference: null,
        target: 'at most 1.2',
        pass: first / usual <= 1.2,
      },
      {
        name: `${name} start: resident after 5 requests`,
        unit: 'MB',
        ours: server.usage().residentBytes / 2 ** 20,
        reference: null,
        target: '',
        pass: null,
      },
    ];
  } finally {
    await server.stop();
  }
}

async function fourStreams(server: ServerProcess, clips: readonly Buffer[]): Promise<Row[]> {
  const sampler = new ResidentSampler(server);
  await Promise.all(
    Array.from({ length: LIVE_STREAMS }, (_, index) =>
      streamAudio(server.streamUrl, Readable.from(repeated([...clips.slice(index), ...clips.slice(0, index)], LIVE_SECONDS)), {
        pace: 1,
        config: { interim_results: true },
      }),
    ),
  );
  const peak = sampler.stop().peakMB;
  return [
    {
      name: `${LIVE_STREAMS} live streams: greatest resident memory`,
      unit: 'MB',
      ours: peak,
      reference: null,
      target: 'below 700',
      pass: peak < 700,
    },
  ];
}

function growth(what: string, minuteMB: number, endMB: number, peakMB: number, wallSeconds: number): Row[] {
  return [
    {
      name: `${what}: growth from the first minute to the end`,
      unit: 'MB',
      ours: endMB - minuteMB,
      reference: null,
      target: 'at most 50',
      pass: endMB - minuteMB <= 50,
    },
    { name: `${what}: resident at the first minute`, unit: 'MB', ours: minuteMB, reference: null, target: '', pass: null },
    { name: `${what}: greatest resident`, unit: 'MB', ours: peakMB, reference: null, target: '', pass: null },
    { name: `${what}: wall time`, unit: 's', ours: wallSeconds, reference: null, target: '', pass: null },
  ];
}

async function longStream(server: ServerProcess, clips: readonly Buffer[], seconds: number): Promise<Row[]> {
  const sampler = new ResidentSampler(server);
  let minuteMB: number | null = null;
  const outcome = await streamAudio(server.streamUrl, Readable.from(repeated(clips, seconds)), {
    config: { language: 'en' },
    onMessage: (message) => {
      if ('start' in message && message.end >= 60) minuteMB ??= sampler.nowMB();
    },
  });
  const endMB = sampler.nowMB();
  const end = outcome.messages.at(-1);
  if (end?.type !== 'end') throw new Error(`the long stream ended with ${JSON.stringify(end)}`);
  return growth(`stream of ${Math.round(end.audio_seconds)} s`, minuteMB ?? endMB, endMB, sampler.stop().peakMB, outcome.wallSeconds);
}

async function longFile(server: ServerProcess, clips: readonly Buffer[], seconds: number): Promise<Row[]> {
  const sampler = new ResidentSampler(server);
  const startMs = performance.now();
  const dataBytes = seconds * PCM_BYTES_PER_SECOND;
  const { status, body } = await new Promise<{ status: number; body: string }>((resolve, reject) => {
    const post = request(`${server.url}/transcribe?language=en`, {
      method: 'POST',
      headers: { 'content-type': 'audio/wav', 'content-length': dataBytes + 44 },
    });
    post.on('error', reject);
    post.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    Readable.from(
      (function* () {
        yield wavHeader(dataBytes);
        yield* repeated(clips, seconds);
      })(),
    ).pipe(post);
  });
  const wallSeconds = (performance.now() - startMs) / 1000;
  const endMB = sampler.nowMB();
  if (status !== 200) throw new Error(`the long file was answered ${status}: ${body.slice(0, 200)}`);
  // Progress inside a file is not visible from outside: a minute of wall time, or half the run where that is shorter
  const { peakMB, at } = sampler.stop();
  return growth(`file of ${seconds} s`, at(Math.min(60, wallSeconds / 2)), endMB, peakMB, wallSeconds);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      corpus: { type: 'string' },
      seconds: { type: 'string' },
      parts: { type: 'string' },
      cold: { type: 'boolean' },
      threads: { type: 'string' },
      model: { type: 'string' },
      out: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) return console.log(HELP);
  const parts = values.parts?.split(',') ?? ['start', 'streams', 'stream', 'file'];
  const seconds = Number(values.seconds ?? 3600);
  const args = ['--engines', values.threads ?? '2', '--model', values.model ?? 'base'];
  const clips = await benchClips({ corpora: [values.corpus ?? '../shared/corpus'], sets: ['long', 'short'], quick: false });
  const python = new PythonWorker(await benchPython(), 'faster_whisper_worker.py');
  const long = clips.filter(({ set }) => set === 'long');
  const pcm: Buffer[] = [];
  for (const clip of long) pcm.push(await clipPcm(python, clip));
  python.close();

  const rows: Row[] = [];
  const environment = await environmentOf({});
  const short = clips.find(({ set, seconds: length }) => set === 'short' && length > 5) ?? clips[0]!;
  if (values.cold === true) {
    const cache = await mkdtemp(join(tmpdir(), 'bench-cache-'));
    rows.push(...(await startTimes(args, short, { WHISPER_CACHE: cache }, 'cold')));
    await rm(cache, { recursive: true });
  }
  // The first start may still build the model: it is not the one that is timed
  if (parts.includes('start')) await (await ServerProcess.start({ entry: 'compiled', args })).stop();
  if (parts.includes('start')) rows.push(...(await startTimes(args, short, {}, 'warm')));
  for (const [part, run] of Object.entries({
    streams: (server: ServerProcess) => fourStreams(server, pcm),
    stream: (server: ServerProcess) => longStream(server, pcm, seconds),
    file: (server: ServerProcess) => longFile(server, pcm, seconds),
  })) {
    if (!parts.includes(part)) continue;
    console.error(part);
    const server = await ServerProcess.start({ entry: 'compiled', args });
    try {
      rows.push(...(await run(server)));
    } finally {
      await server.stop();
    }
  }
  console.log(formatTable(rows));
  console.log(await writeResult(values.out ?? null, 'memory', { environment, rows }));
}

await main();

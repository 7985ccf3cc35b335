// The load generator, a process of its own so that its work is not taken for the server's: plays all streams of a job against the clock.

import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { quantile } from '../score.ts';
import type { GeneratorJob, GeneratorReport, WireJob } from './generator-messages.ts';
import { firstSpeechSample } from './latency.ts';
import { epochMs, StreamClient } from './stream-client.ts';

/** Frames that are due so soon are sent together: fewer wake-ups, and no frame is late. */
const EARLY_MS = 0.5;
const IDLE_POLL_MS = 10;

const pcm = new Map<string, Int16Array>();

function load(file: string): Int16Array {
  let samples = pcm.get(file);
  if (samples === undefined) {
    const bytes = readFileSync(file);
    samples = new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    pcm.set(file, samples);
  }
  return samples;
}

async function play(job: GeneratorJob): Promise<GeneratorReport> {
  for (const { plan } of job.streams) for (const { pcmFile } of plan.parts) load(pcmFile);
  const lateMs: number[] = [];
  const usedBefore = process.cpuUsage();
  const startedMs = epochMs() + 20;
  let firstRefusalMs: number | null = null;
  const clients = job.streams.map(
    (order) =>
      new StreamClient({
        job,
        order,
        pcm,
        firstSpeechSample: order.plan.parts[0]!.startSample + firstSpeechSample(load(order.plan.parts[0]!.pcmFile)),
        onRefused: () => {
          firstRefusalMs ??= epochMs();
        },
        onSent: (late) => {
          lateMs.push(late);
        },
      }),
  );

  if (!Number.isFinite(job.pace)) {
    for (const client of clients) {
      client.connect(0);
      let isOver = false;
      void client.done.then(() => {
        isOver = true;
      });
      while (!isOver) {
        if (client.isSending && !client.isCongested) client.sendFrame(epochMs());
        else await delay(client.isSending ? 1 : IDLE_POLL_MS);
      }
    }
  } else {
    let connected = 0;
    let open = 0;
    const stopsSending = (): boolean =>
      job.afterRefusalSeconds !== null && firstRefusalMs !== null && epochMs() > firstRefusalMs + job.afterRefusalSeconds * 1000;
    for (;;) {
      const nowMs = epochMs();
      const isFull = job.afterRefusalSeconds !== null && firstRefusalMs !== null;
      while (!isFull && connected < clients.length && job.streams[connected]!.connectAfterMs <= nowMs - startedMs) {
        const client = clients[connected]!;
        client.connect(startedMs + job.streams[connected]!.audioAfterMs);
        open++;
        void client.done.then(() => open--);
        connected++;
      }
      if (stopsSending()) for (const client of clients) client.stopSending();
      let nextMs = nowMs + IDLE_POLL_MS;
      for (const client of clients) {
        while (client.dueMs <= nowMs + EARLY_MS) client.sendFrame(epochMs());
        nextMs = Math.min(nextMs, client.dueMs);
      }
      if (open === 0 && (connected === clients.length || isFull)) break;
      await delay(Math.max(0, nextMs - epochMs()));
    }
  }
  const used = process.cpuUsage(usedBefore);
  return {
    streams: clients.map((client) => client.report()),
    startedMs,
    firstRefusalMs,
    cpuSeconds: (used.user + used.system) / 1e6,
    lateMs: {
      p95: Math.max(0, quantile(lateMs, 0.95)),
      max: Math.max(
        0,
        lateMs.reduce((a, b) => Math.max(a, b), 0),
      ),
    },
  };
}

process.on('message', ({ pace, ...job }: WireJob) => {
  play({ ...job, pace: pace ?? Infinity }).then(
    (report) => process.send?.({ report }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});

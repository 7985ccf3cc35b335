// A step in load: so many streams at once on one recogniser, and how long it takes until a second one shares the work.

import { setTimeout as delay } from 'node:timers/promises';
import { ServeApi } from '../../src/cli/ray/serve-api.ts';
import { ON_RAY, ServerProcess } from '../../test/server-process.ts';
import { type Quantiles, quantiles } from '../capacity/latency.ts';
import { planStream } from '../capacity/plan.ts';
import { jobOf } from '../capacity/step.ts';
import type { OverheadParts } from './overhead.ts';

const DASHBOARD = 'http://127.0.0.1:8265';
const POLL_MS = 250;

export interface ScaleReport {
  readonly streams: number;
  /** Seconds from the first stream. */
  readonly decidedSeconds: number | null;
  readonly runningSeconds: number | null;
  /** The first answer of the second recogniser. */
  readonly sharingSeconds: number | null;
  readonly refused: number;
  readonly lost: number;
  readonly gaps: number;
  readonly wordFinalSeconds: Quantiles;
}

/** With the autoscaling of deploy/serve.yaml as it is, on two logical GPUs. */
export async function stepInLoad(streams: number, { clips, generator, options, progress }: OverheadParts): Promise<ScaleReport> {
  progress(`${streams} streams at once: starting`);
  const args = ['--model', options.model, '--gpus', '2', '--gpus-per-replica', '1', '--asr-replicas', '1:2'];
  const server = await ServerProcess.start({ entry: 'compiled', args, ...ON_RAY });
  try {
    const api = new ServeApi(DASHBOARD, {});
    const system = {
      name: 'ray',
      url: server.url.replace('http', 'ws'),
      usage: () => server.usage(),
      stop: async () => undefined,
    } as const;
    const orders = Array.from({ length: streams }, (_, index) => {
      return { plan: planStream(clips, index, options.seconds), connectAfterMs: 200 * index, audioAfterMs: 200 * index };
    });
    const startMs = performance.now();
    const seconds = (): number => Number(((performance.now() - startMs) / 1000).toFixed(1));
    const seen: { decided: number | null; running: number | null; sharing: number | null } = {
      decided: null,
      running: null,
      sharing: null,
    };
    let isOver = false;
    const watching = (async () => {
      while (!isOver && seen.sharing === null) {
        const asr = Object.values((await api.details()).applications)[0]?.deployments.WhisperASR;
        if ((asr?.target_num_replicas ?? 0) > 1) seen.decided ??= seconds();
        if ((asr?.replicas.filter(({ state }) => state === 'RUNNING').length ?? 0) > 1) seen.running ??= seconds();
        if (/^whisper_remote_replicas 2$/m.test(await (await fetch(`${server.url}/metrics`)).text())) seen.sharing ??= seconds();
        await delay(POLL_MS);
      }
    })();
    const load = await generator.run(system, jobOf(options, system, orders, { interimResults: false }), (at) =>
      progress(`step in load: ${at} s`),
    );
    isOver = true;
    await watching;
    return {
      streams,
      decidedSeconds: seen.decided,
      runningSeconds: seen.running,
      sharingSeconds: seen.sharing,
      refused: load.streams.filter(({ state }) => state === 'refused').length,
      lost: load.streams.filter(({ state }) => state === 'lost').length,
      gaps: load.streams.reduce((sum, { gaps }) => sum + (gaps ?? 0), 0),
      wordFinalSeconds: quantiles(load.streams.flatMap(({ wordLatencySeconds }) => wordLatencySeconds)),
    };
  } finally {
    await server.stop();
  }
}

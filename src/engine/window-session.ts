// The onnxruntime session that decodes whole windows: a batch in, texts out, nothing in between.

import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { ModelConfig } from '../model/config.ts';
import { nodeNames } from '../model/onnx-graph.ts';
import { ALIGNMENT, CHOICE_SECTION } from '../model/window-graph.ts';
import { type Continuation, type DecodedText, type DecodeJob, RunningWindow } from './decode.ts';
import type { Device } from './device.ts';
import { type AlignmentRow, extend, type Node } from './hypothesis.ts';
import { sessionOptions } from './model-session.ts';
import { allPositions, SAMPLES_PER_POSITION } from './positions.ts';
import type { PrefillOptions } from './prefill.ts';

export interface EncodedJob {
  /** 16 kHz samples with the silent margin, a multiple of SAMPLES_PER_POSITION. */
  readonly pcm: Float32Array;
  /** Its draft is not looked at: what the others still need is decoded anyway. */
  readonly job: DecodeJob;
}

export interface DecodedBatch {
  readonly texts: readonly DecodedText[];
  /** Passes of the decoder after the first. */
  readonly steps: number;
}

export class WindowSession {
  readonly config: ModelConfig;
  readonly #session: InferenceSession;

  private constructor(config: ModelConfig, session: InferenceSession) {
    this.config = config;
    this.#session = session;
  }

  /** @param threads for one operation that runs on the processor, at least 1 */
  static async load(path: string, config: ModelConfig, device: Device, threads: number): Promise<WindowSession> {
    const executionProviders = providersOf(device, path);
    return new WindowSession(config, await InferenceSession.create(path, { ...sessionOptions(threads), executionProviders }));
  }

  /** @param windows at least one; drawn from only where there is one beam */
  async decode(windows: readonly EncodedJob[], options: PrefillOptions): Promise<DecodedBatch> {
    const { beams } = options;
    const batch = windows.length;
    const forced = windows.map(({ job }) => [...job.initial, ...(job.settled ?? []).map(({ token }) => token)]);
    const columns = aligned(Math.max(...forced.map((tokens) => tokens.length)));
    const limits = windows.map(({ job }) => job.limit - (job.settled?.length ?? 0));
    const steps = Math.max(...limits) - 1;
    const outputs = await this.#session.run({
      ...windowFeeds(windows),
      tokens: new Tensor('int32', rightAligned(forced, columns), [batch, columns]),
      lengths: int32(forced.map((tokens) => tokens.length)),
      start: int32(windows.map(({ job: { startIndex } }, w) => columns - (forced[w] as number[]).length + startIndex)),
      no_speech: int32([options.noSpeech]),
      end_of_text: int32([options.endOfText]),
      masks: new Tensor('float32', bothMasks(windows), [2, this.config.vocabularySize]),
      first_mask: int32(windows.map(({ job: { firstMask, mask, settled = [] } }) => (settled.length > 0 || firstMask === mask ? 0 : 1))),
      limits: int32(limits),
      steps: int64(steps),
      group: int64(beams),
      candidates: int64(beams + 1),
      ranks: int64(2 * beams),
      draws: new Tensor('bool', Uint8Array.of(windows.some(({ job }) => job.temperature > 0) ? 1 : 0), []),
      temperatures: new Tensor(
        'float32',
        Float32Array.from(windows, (w) => w.job.temperature),
        [batch],
      ),
      random: new Tensor('float32', draws(windows, steps + 1), [steps + 1, batch]),
    });
    const read = <T>(name: string): T => (outputs[name] as Tensor).data as T;
    const taken = (outputs.tokens_ranked as Tensor).dims[0] as number;
    const results: Results = {
      batch,
      columns,
      ranks: 2 * beams,
      heads: this.config.alignmentHeads.length,
      stride: (outputs.first_alignment as Tensor).dims[3] as number,
      noSpeech: read('no_speech_probability'),
      firstAlignment: read('first_alignment'),
      alignment: read('alignment'),
      first: { tokens: read('first_tokens_ranked'), rows: read('first_rows_ranked'), values: read('first_values_ranked') },
      next: { tokens: read('tokens_ranked'), rows: read('rows_ranked'), values: read('values_ranked') },
      steps: taken,
    };
    const texts = windows.map((window, w) => replay(window, w, (forced[w] as number[]).length, results, options));
    return { texts, steps: taken };
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

function providersOf(device: Device, path: string): InferenceSession.ExecutionProviderConfig[] {
  if (device === 'cpu') return ['cpu'];
  if (device === 'cuda') return ['cuda', 'cpu'];
  // WebGPU has no kernels for 64-bit indices: a choice would go back and forth between it and the processor several times.
  const forceCpuNodeNames = nodeNames(path).filter((name) => name.includes(`${CHOICE_SECTION}/`));
  return [{ name: 'webgpu', forceCpuNodeNames } as InferenceSession.ExecutionProviderConfig, 'cpu'];
}

interface Ranking {
  /** [steps, batch, ranks] */
  readonly tokens: Int32Array;
  readonly rows: Int32Array;
  readonly values: Float32Array;
}

interface Results {
  readonly batch: number;
  /** Of the forced tokens. */
  readonly columns: number;
  readonly ranks: number;
  readonly heads: number;
  readonly stride: number;
  readonly noSpeech: Float32Array;
  /** [batch, heads, columns, stride] */
  readonly firstAlignment: Float32Array;
  /** [steps, batch, heads, beams, stride] */
  readonly alignment: Float32Array;
  readonly first: Ranking;
  readonly next: Ranking;
  readonly steps: number;
}

/** What the graph chose for window `w`, step by step: its hypotheses are rebuilt from their rankings. */
function replay({ pcm, job }: EncodedJob, w: number, forcedCount: number, results: Results, options: PrefillOptions): DecodedText {
  const { batch, columns, heads, ranks, stride } = results;
  const { beams } = options;
  const forcedRow = (index: number): AlignmentRow => ({
    data: results.firstAlignment,
    offset: w * heads * columns * stride,
    queries: columns,
    query: columns - forcedCount + index,
    stride,
  });
  const fromStart = Array.from({ length: job.initial.length - job.alignIndex }, (_, i) => forcedRow(job.alignIndex + i));
  const window = new RunningWindow(job, results.noSpeech[w] as number, fromStart, options);
  let settled: Node | null = null;
  for (const { token, logProbability } of job.settled ?? []) {
    settled = extend(settled, token, logProbability);
    settled.alignment = forcedRow(job.initial.length + settled.length - 1);
  }
  const ranked = ({ tokens, rows, values }: Ranking, step: number, parents: readonly (Node | null)[]): Continuation[] => {
    const start = (step * batch + w) * ranks;
    return Array.from({ length: ranks }, (_, i) => i + start).flatMap((i): Continuation[] => {
      const source = rows[i] as number;
      const parent = parents[source];
      // The first choice has one hypothesis only; what the ranking holds of others is none.
      return parent === undefined ? [] : [{ token: tokens[i] as number, logProbability: values[i] as number, parent, source }];
    });
  };
  window.take(ranked(results.first, 0, [settled]));
  for (let step = 0; step < results.steps && !window.isFinished; step++) {
    const offset = (step * batch + w) * heads * beams * stride;
    for (const [query, node] of window.rows.entries()) {
      node.alignment = { data: results.alignment, offset, queries: beams, query, stride };
    }
    window.take(ranked(results.next, step, window.rows));
  }
  return window.best(heads, allPositions(pcm.length / SAMPLES_PER_POSITION).indices);
}

/** All windows in one tensor, with zeros behind those that are shorter. */
function windowFeeds(windows: readonly EncodedJob[]): { pcm: Tensor; frames: Tensor } {
  const samples = aligned(Math.max(...windows.map(({ pcm }) => pcm.length)) / SAMPLES_PER_POSITION) * SAMPLES_PER_POSITION;
  const data = new Float32Array(windows.length * samples);
  for (const [w, { pcm }] of windows.entries()) data.set(pcm, w * samples);
  return {
    pcm: new Tensor('float32', data, [windows.length, samples]),
    frames: int32(windows.map(({ pcm }) => pcm.length / SAMPLES_PER_POSITION)),
  };
}

const aligned = (count: number): number => Math.ceil(count / ALIGNMENT) * ALIGNMENT;

function rightAligned(rows: readonly (readonly number[])[], columns: number): Int32Array {
  const out = new Int32Array(rows.length * columns);
  for (const [r, row] of rows.entries()) out.set(row, (r + 1) * columns - row.length);
  return out;
}

/** The mask that all windows share, and the other one of those that have another for their first token. */
function bothMasks(windows: readonly EncodedJob[]): Float32Array {
  const [{ job }] = windows as [EncodedJob];
  const other = windows.find(({ job: { firstMask, mask } }) => firstMask !== mask)?.job.firstMask ?? job.mask;
  const both = new Float32Array(2 * job.mask.length);
  both.set(job.mask);
  both.set(other, job.mask.length);
  return both;
}

/** [count, windows]: each window draws from numbers of its own. */
function draws(windows: readonly EncodedJob[], count: number): Float32Array {
  const out = new Float32Array(count * windows.length);
  for (const [w, { job }] of windows.entries()) {
    if (job.temperature > 0) for (let i = 0; i < count; i++) out[i * windows.length + w] = job.random();
  }
  return out;
}

const int32 = (values: readonly number[]): Tensor => new Tensor('int32', Int32Array.from(values), [values.length]);
const int64 = (value: number): Tensor => new Tensor('int64', BigInt64Array.of(BigInt(value)), [1]);

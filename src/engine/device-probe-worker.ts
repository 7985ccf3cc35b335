// A thread that finds out whether a device works and how fast it multiplies matrices, beside the processor.

import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { env, InferenceSession, Tensor } from 'onnxruntime-node';
import { writeGraph } from '../model/onnx-graph.ts';
import { seededRandom } from './sampling.ts';

export type ProbedDevice = 'cuda' | 'webgpu';

export interface ProbeReport {
  /** Why it cannot be used; null where it can. */
  readonly problem: string | null;
  /** The problem is that something is not there: files, libraries, hardware. */
  readonly isAbsent: boolean;
  /** Billions of operations a second; null for float16 that the device does not have. */
  readonly gigaflops: { readonly float32: number; readonly float16: number | null; readonly processor: number };
}

const { device } = workerData as { readonly device: ProbedDevice };

/** Multiplications in a row, as layers are. */
const CHAIN = 8;
/** Sides of the matrices; a larger one is tried while the last took less than this. */
const SIDES = [128, 256, 512, 1024, 2048] as const;
const ENOUGH_MS = 50;
/** Of each side, of which the fastest counts: on an H100 with cold libraries the second run of all took 81 ms instead of 0.1. */
const REPEATS = 3;
const LONG_MS = 10 * ENOUGH_MS;
/** At most the smallest side, and the width of a head in every Whisper model. */
const ATTENTION_WIDTH = 128;
const HEAD_WIDTH = 64;
/**
 * Largest difference from the processor's result, whose values are of the order of 1; float16 has three digits, and so has the float32 that
 * CUDA multiplies matrices in (TF32).
 */
const TOLERANCE = { float32: { cuda: 3e-2, webgpu: 1e-3 }, float16: { cuda: 3e-2, webgpu: 3e-2 } } as const;

/** What onnxruntime says where something is missing, and what it means. */
const ABSENT: readonly (readonly [pattern: RegExp, meaning: string])[] = [
  [/Failed to load shared library/i, "onnxruntime's CUDA files or CUDA's own libraries are not found"],
  [/cuDNN is (unavailable|not available)|libcudnn/i, "NVIDIA's cuDNN is not found"],
  [/no CUDA-capable device|CUDA failure 100/i, 'there is no NVIDIA GPU'],
  [/driver version is insufficient|CUDA failure 35/i, "NVIDIA's driver is too old"],
  [/No supported adapters|Failed to get a WebGPU adapter/i, 'there is no graphics adapter, or no Vulkan driver for it'],
];

const FULL = /failed to allocate memory|out of memory/i;

/** What CUDA's libraries say, in the middle of much else. */
const CUDA_FAILURE = /(?:CUDA|CUDNN|CUBLAS) failure \d+: [^;]+/;

// What is missing is told in a word; onnxruntime would print pages.
env.logLevel = 'fatal';

try {
  parentPort?.postMessage(await report());
} catch (error) {
  parentPort?.postMessage(failed(error));
}

async function report(): Promise<ProbeReport> {
  const dir = await mkdtemp(join(tmpdir(), 'device-'));
  try {
    const graphs = { float32: join(dir, 'float32.onnx'), float16: join(dir, 'float16.onnx') };
    writeChain(graphs.float32, 'float32');
    writeChain(graphs.float16, 'float16');
    const { outputs: expected, gigaflops: processor } = await measure(graphs.float32, 'cpu');
    const full = await measure(graphs.float32, device);
    check(full.outputs, expected, TOLERANCE.float32[device]);
    let float16: number | null = null;
    try {
      const half = await measure(graphs.float16, device);
      check(half.outputs, expected, TOLERANCE.float16[device]);
      float16 = half.gigaflops;
    } catch {
      // The device has no float16: it is used without.
    }
    return { problem: null, isAbsent: false, gigaflops: { float32: full.gigaflops, float16, processor } };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** y = tanh(y · x · scale) CHAIN times over, from y = x, and attention of its first columns on CUDA; only a corner comes back. */
function writeChain(path: string, type: 'float32' | 'float16'): void {
  writeGraph('probe', path, (graph) => {
    const input = graph.input('x', 'float32', ['side', 'side']);
    const scale = graph.input('scale', 'float32', []);
    const [x, factor] = type === 'float32' ? [input, scale] : [graph.cast(input, type), graph.cast(scale, type)];
    let y = x;
    for (let i = 0; i < CHAIN; i++) y = graph.op('Tanh', [graph.op('Mul', [graph.op('MatMul', [y, x]), factor])]);
    // The fused kernel, which has conditions of its own, cuDNN among them. WebGPU's is not used.
    if (device === 'cuda') {
      const first = graph.op('Slice', [y, graph.ints(0), graph.ints(ATTENTION_WIDTH), graph.ints(1)]);
      const rows = graph.op('Unsqueeze', [first, graph.ints(0)]);
      const attended = graph.op('ms.MultiHeadAttention', [rows, rows, rows], { num_heads: ATTENTION_WIDTH / HEAD_WIDTH });
      y = graph.op('Squeeze', [attended, graph.ints(0)]);
    }
    const corner = graph.op('Slice', [y, graph.ints(0, 0), graph.ints(8, 8), graph.ints(0, 1)]);
    graph.op(type === 'float32' ? 'Identity' : 'Cast', [corner], type === 'float32' ? {} : { to: 1 }, 'corner');
    graph.output('corner', 'float32', [8, 8]);
  });
}

/** The corners of all sides that were tried, and the speed of the largest. */
async function measure(path: string, provider: 'cpu' | ProbedDevice): Promise<{ outputs: Float32Array[]; gigaflops: number }> {
  const session = await InferenceSession.create(path, {
    executionProviders: [provider],
    intraOpNumThreads: availableParallelism(),
    logSeverityLevel: 4,
  });
  const outputs: Float32Array[] = [];
  let gigaflops = 0;
  for (const side of SIDES) {
    const scale = Float32Array.of(2 / Math.sqrt(side));
    const feeds = { x: new Tensor('float32', noise(side * side), [side, side]), scale: new Tensor('float32', scale, []) };
    // The first runs of a shape compile, allocate, and read libraries from a disk that may be slow.
    outputs.push((await session.run(feeds)).corner?.data as Float32Array);
    let ms = Number.POSITIVE_INFINITY;
    for (let i = 0; i < REPEATS; i++) {
      const startMs = performance.now();
      await session.run(feeds);
      ms = Math.min(ms, performance.now() - startMs);
      // So long a run has no start-up in it that would count.
      if (ms > LONG_MS) break;
    }
    gigaflops = (2 * CHAIN * side ** 3) / ms / 1e6;
    if (ms > ENOUGH_MS) break;
  }
  await session.release();
  return { outputs, gigaflops };
}

/** Numbers in [-1, 1) without a pattern: one would make the products vanish, or all alike. */
function noise(length: number): Float32Array {
  const random = seededRandom(1);
  return Float32Array.from({ length }, () => 2 * random() - 1);
}

function check(outputs: readonly Float32Array[], expected: readonly Float32Array[], tolerance: number): void {
  for (const [i, output] of outputs.slice(0, expected.length).entries()) {
    const wrong = output.findIndex((value, j) => !(Math.abs(value - (expected[i] as Float32Array)[j]!) <= tolerance));
    if (wrong !== -1) throw new Error(`it computes wrong results: ${output[wrong]} instead of ${expected[i]?.[wrong]}`);
  }
}

function failed(error: unknown): ProbeReport {
  const message = error instanceof Error ? error.message : String(error);
  const absent = ABSENT.find(([pattern]) => pattern.test(message));
  const problem =
    absent?.[1] ??
    (FULL.test(message) ? 'its memory is full' : null) ??
    message.match(CUDA_FAILURE)?.[0].trim() ??
    (message.split('\n')[0] as string);
  return { problem, isAbsent: absent !== undefined, gigaflops: { float32: 0, float16: null, processor: 0 } };
}

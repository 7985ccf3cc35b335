// How fast a device reads and writes its memory through the same library that runs the models: a chain of multiplications of a long vector.

import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Device } from '../../src/engine/device.ts';
import { type Origin, product } from './product.ts';

/** Far more values than any cache holds, and chains of two lengths. */
const CHAINS = {
  device: { count: 2 ** 27, short: 4, long: 36 },
  processor: { count: 2 ** 24, short: 2, long: 10 },
} as const;
const FLOAT_BYTES = 4;
const REPEATS = 3;

export interface BandwidthJob {
  readonly stage: 'bandwidth';
  readonly from: Origin;
  readonly device: Device;
  readonly dir: string;
}

/** GB/s, read and written together. Two chains of different lengths: what is not a link of the chain cancels out. */
export async function measureBandwidth({ device, dir, from }: BandwidthJob): Promise<number> {
  const { writeGraph } = await product(from, 'model/onnx-graph');
  const { count, long, short } = device === 'cpu' ? CHAINS.processor : CHAINS.device;
  const seconds = async (length: number): Promise<number> => {
    const path = join(dir, `chain-${length}.onnx`);
    writeGraph('chain', path, (graph) => {
      const factor = graph.input('factor', 'float32', []);
      let y = graph.op('Expand', [factor, graph.input('shape', 'int64', [1])]);
      // The factor is not known before the run, or the chain would be computed while it is loaded.
      for (let i = 0; i < length; i++) y = graph.op('Mul', [y, factor]);
      graph.op('ReduceMax', [y], { keepdims: 0 }, 'largest');
      graph.output('largest', 'float32', []);
    });
    const session = await InferenceSession.create(path, { executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'] });
    const feeds = {
      factor: new Tensor('float32', Float32Array.of(1.0001), []),
      shape: new Tensor('int64', BigInt64Array.of(BigInt(count)), [1]),
    };
    await session.run(feeds);
    const times: number[] = [];
    for (let i = 0; i < REPEATS; i++) {
      const startMs = performance.now();
      await session.run(feeds);
      times.push((performance.now() - startMs) / 1000);
    }
    await session.release();
    return Math.min(...times);
  };
  const [shortSeconds, longSeconds] = [await seconds(short), await seconds(long)];
  return ((long - short) * 2 * FLOAT_BYTES * count) / (longSeconds - shortSeconds) / 1e9;
}

// Convolutions and Fourier transforms as multiplications: what a kernel sees at each place, side by side, times the kernel as a matrix.

import { transpose } from './graph-layers.ts';
import type { OnnxGraph } from './onnx-graph.ts';

/** [batch, rows, width] -> [batch, (rows - taps) / stride + 1, taps * width]: what each position of a kernel sees. */
export function unfolded(graph: OnnxGraph, x: string, taps: number, stride: number): string {
  const slices = Array.from({ length: taps }, (_, tap) => {
    const end = tap === taps - 1 ? Number.MAX_SAFE_INTEGER : tap - taps + 1;
    return graph.op('Slice', [x, graph.ints(tap), graph.ints(end), graph.ints(1), graph.ints(stride)]);
  });
  return graph.op('Concat', slices, { axis: 2 });
}

/** [outputs, inputs, taps] row-major as [taps * inputs, outputs]. */
export function kernelMatrix(kernel: Float32Array, outputs: number, inputs: number, taps: number): Float32Array {
  const matrix = new Float32Array(kernel.length);
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < inputs; i++)
      for (let t = 0; t < taps; t++) matrix[(t * inputs + i) * outputs + o] = kernel[(o * inputs + i) * taps + t] as number;
  return matrix;
}

/**
 * The power of each frequency.
 * @param frames [batch, rows, size]
 * @param basis [2 * bins, size] row-major: real parts, then imaginary ones
 * @returns [batch, rows, bins]
 */
export function powerSpectra(graph: OnnxGraph, frames: string, size: number, bins: number, basis: () => Float32Array): string {
  const columns = graph.constant('fourier_columns', 'float32', [size, 2 * bins], () => transpose(basis(), 2 * bins, size));
  const parts = [graph.unique('real'), graph.unique('imaginary')];
  const halves = graph.ints(bins, bins);
  const [real, imaginary] = graph.ops('Split', [graph.op('MatMul', [frames, columns]), halves], parts, { axis: 2 }) as [string, string];
  return graph.op('Add', [graph.op('Mul', [real, real]), graph.op('Mul', [imaginary, imaginary])]);
}

// onnxruntime's int8 multiplication is exact on this machine's processor, whatever its instructions: no product is lost to an overflow.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { writeGraph } from '../model/onnx-graph.ts';
import { quantiseColumns } from '../model/quantise.ts';
import { sessionOptions } from './model-session.ts';

const root = mkdtempSync(join(tmpdir(), 'int8-'));
after(() => rmSync(root, { recursive: true }));

const INPUTS = 64;
const OUTPUTS = 48;

/** y = x · w of `values` [INPUTS, OUTPUTS], all scales 1. */
async function multiply(values: Int8Array, x: Float32Array): Promise<Float32Array> {
  const path = join(root, 'multiply.onnx');
  writeGraph('multiply', path, (graph) => {
    const w = graph.constant('w', 'int8', [INPUTS, OUTPUTS], values);
    const scales = graph.constant('scales', 'float32', [OUTPUTS], new Float32Array(OUTPUTS).fill(1));
    graph.op('ms.DynamicQuantizeMatMul', [graph.input('x', 'float32', ['rows', INPUTS]), w, scales], {}, 'y');
    graph.output('y', 'float32', ['rows', OUTPUTS]);
  });
  const session = await InferenceSession.create(path, sessionOptions(1));
  const { y } = await session.run({ x: new Tensor('float32', x, [x.length / INPUTS, INPUTS]) });
  await session.release();
  return (y as Tensor).data as Float32Array;
}

for (const rows of [1, 2, 5, 33]) {
  test(`${rows} rows of the largest activations against columns of the largest weights`, async () => {
    // Two neighbours alike, all of one sign; the first row's 0 makes 255 a step of 1.
    const { values } = quantiseColumns(new Float32Array(OUTPUTS * INPUTS).fill(-1), OUTPUTS, INPUTS);
    const largest = values[0] as number;
    assert.ok(largest <= -63, `${largest}`);
    const x = new Float32Array(rows * INPUTS).fill(255);
    x[INPUTS - 1] = 0;
    const y = await multiply(values, x);
    for (let r = 0; r < rows; r++)
      for (let o = 0; o < OUTPUTS; o++)
        assert.equal(y[r * OUTPUTS + o], 255 * largest * (r === 0 ? INPUTS - 1 : INPUTS), `row ${r}, column ${o}`);
  });
}

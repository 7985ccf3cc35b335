// The ring against a plain array.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SampleBuffer } from './sample-buffer.ts';

describe('the sample buffer', () => {
  test('holds what was appended and not yet dropped, however it wraps and grows', () => {
    const operation = fc.oneof(
      fc.record({ append: fc.integer({ min: 0, max: 40_000 }) }),
      fc.record({ dropTo: fc.double({ min: 0, max: 1, noNaN: true }) }),
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
        const buffer = new SampleBuffer();
        let end = 0;
        let start = 0;
        for (const step of operations) {
          if ('append' in step) {
            const from = end;
            buffer.append(Float32Array.from({ length: step.append }, (_, i) => from + i));
            end += step.append;
          } else {
            start += Math.floor((end - start) * step.dropTo);
            buffer.dropBefore(start);
          }
          assert.deepEqual([buffer.start, buffer.end], [start, end]);
          const held = buffer.slice(start, end);
          assert.ok(held.length === end - start && held.every((sample, i) => sample === start + i));
        }
      }),
    );
  });

  test('gives memory back after a burst', () => {
    const buffer = new SampleBuffer();
    buffer.append(new Float32Array(1e6));
    buffer.dropBefore(1e6 - 100);
    assert.ok(buffer.capacity < 20_000);
  });

  test('refuses samples that it does not hold', () => {
    const buffer = new SampleBuffer();
    buffer.append(new Float32Array(10));
    buffer.dropBefore(5);
    assert.throws(() => buffer.slice(4, 8), RangeError);
    assert.throws(() => buffer.slice(6, 11), RangeError);
  });
});

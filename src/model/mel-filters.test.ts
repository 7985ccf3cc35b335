// The front end's constants against librosa's filters and the discrete Fourier transform by its definition.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FFT_SIZE, FREQUENCY_BINS, fourierBasis, melFilters } from './mel-filters.ts';

/** faster-whisper 1.2.1 FeatureExtractor.get_mel_filters(16000, 400, bins), which equals all of ours in float32: sums and peaks. */
const REFERENCE = {
  80: {
    sum: 1.9990241029178577,
    squares: 0.021185515630590068,
    peaks: [
      [0, 1, 0.0248626],
      [1, 2, 0.0228718],
      [10, 10, 0.0199082],
      [40, 43, 0.0147356],
      [78, 185, 0.0034063],
      [79, 192, 0.0031647],
    ],
  },
  128: {
    sum: 3.1909855285406996,
    squares: 0.05525341673531038,
    peaks: [
      [0, 1, 0.012374],
      [1, 1, 0.0303926],
      [10, 6, 0.0112892],
      [64, 43, 0.0180915],
      [126, 191, 0.004952],
      [127, 195, 0.0050416],
    ],
  },
} as const;

for (const bins of [80, 128] as const) {
  test(`${bins} mel filters are the reference's`, () => {
    const filters = Float64Array.from(melFilters(bins));
    assert.equal(filters.length, bins * FREQUENCY_BINS);
    const { sum, squares, peaks } = REFERENCE[bins];
    assert.ok(Math.abs(filters.reduce((a, b) => a + b) - sum) < 1e-6);
    assert.ok(Math.abs(filters.reduce((a, b) => a + b * b, 0) - squares) < 1e-8);
    for (const [filter, at, height] of peaks) {
      const row = filters.subarray(filter * FREQUENCY_BINS, (filter + 1) * FREQUENCY_BINS);
      assert.equal(row.indexOf(Math.max(...row)), at);
      assert.ok(Math.abs(Math.max(...row) - height) < 1e-7);
    }
  });
}

test('the basis is the transform of a Hann window, cosines before sines', () => {
  const basis = fourierBasis();
  const hann = Array.from({ length: FFT_SIZE }, (_, i) => Math.sin((Math.PI * i) / FFT_SIZE) ** 2);
  for (const [frequency, sample] of [
    [0, 0],
    [0, 200],
    [1, 100],
    [57, 399],
    [200, 3],
  ] as const) {
    const angle = (-2 * Math.PI * frequency * sample) / FFT_SIZE;
    const window = hann[sample] as number;
    assert.ok(Math.abs((basis[frequency * FFT_SIZE + sample] as number) - window * Math.cos(angle)) < 1e-6);
    assert.ok(Math.abs((basis[(FREQUENCY_BINS + frequency) * FFT_SIZE + sample] as number) - window * Math.sin(angle)) < 1e-6);
  }
});

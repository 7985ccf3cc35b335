// Constants of Whisper's log-mel front end: the mel filter bank and the windowed Fourier basis.

/** Samples per second that Whisper hears. */
const RATE = 16_000;
/** Samples of one short-time Fourier window. */
export const FFT_SIZE = 400;
/** Samples between two mel frames. */
export const HOP = 160;
export const FREQUENCY_BINS = FFT_SIZE / 2 + 1;

/** The mel scale of Slaney's Auditory Toolbox: linear to 1 kHz, logarithmic above. */
const toHertz = (mel: number): number => (mel < 15 ? (mel * 200) / 3 : 1000 * Math.exp(((mel - 15) * Math.log(6.4)) / 27));

/**
 * Triangular filters, area-normalised (`librosa.filters.mel(sr=16000, n_fft=400)`, which `whisper/audio.py` stores).
 * @returns [melBins, 201] row-major
 */
export function melFilters(melBins: number): Float32Array {
  const top = 15 + (Math.log(RATE / 2 / 1000) * 27) / Math.log(6.4);
  const edges = Array.from({ length: melBins + 2 }, (_, i) => toHertz((top * i) / (melBins + 1)));
  const filters = new Float32Array(melBins * FREQUENCY_BINS);
  for (let m = 0; m < melBins; m++) {
    const [low, centre, high] = [edges[m] as number, edges[m + 1] as number, edges[m + 2] as number];
    for (let f = 0; f < FREQUENCY_BINS; f++) {
      const hertz = (f * RATE) / FFT_SIZE;
      const height = Math.min((hertz - low) / (centre - low), (high - hertz) / (high - centre));
      filters[m * FREQUENCY_BINS + f] = (Math.max(0, height) * 2) / (high - low);
    }
  }
  return filters;
}

/**
 * The real discrete Fourier transform under a periodic Hann window.
 * @returns [2 * 201, 400]: cosines, then negative sines
 */
export function fourierBasis(): Float32Array {
  const basis = new Float32Array(2 * FREQUENCY_BINS * FFT_SIZE);
  for (let f = 0; f < FREQUENCY_BINS; f++) {
    for (let i = 0; i < FFT_SIZE; i++) {
      const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FFT_SIZE);
      const angle = (2 * Math.PI * ((f * i) % FFT_SIZE)) / FFT_SIZE;
      basis[f * FFT_SIZE + i] = Math.cos(angle) * window;
      basis[(FREQUENCY_BINS + f) * FFT_SIZE + i] = -Math.sin(angle) * window;
    }
  }
  return basis;
}

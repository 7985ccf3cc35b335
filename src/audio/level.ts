// Loudness of a block of PCM in dBFS (0 = full scale).

/** What digital silence reads, in place of minus infinity, which JSON cannot carry. */
export const SILENCE_DBFS = -120;

export interface Level {
  /** Root mean square, dBFS; a full-scale sine reads -3. */
  readonly rmsDbfs: number;
  /** Largest magnitude, dBFS. */
  readonly peakDbfs: number;
}

/** One pass, no allocation per sample. An empty block is silent. */
export function measureLevel(pcm: Float32Array): Level {
  let energy = 0;
  let peak = 0;
  for (let i = 0; i < pcm.length; i++) {
    const sample = pcm[i];
    energy += sample * sample;
    const magnitude = sample < 0 ? -sample : sample;
    if (magnitude > peak) peak = magnitude;
  }
  return { rmsDbfs: toDbfs(Math.sqrt(energy / Math.max(1, pcm.length))), peakDbfs: toDbfs(peak) };
}

function toDbfs(amplitude: number): number {
  return amplitude > 1e-6 ? 20 * Math.log10(amplitude) : SILENCE_DBFS;
}

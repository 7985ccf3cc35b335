// The one clock: inside, time is an integer count of 16 kHz mono samples; seconds exist at the edges only.

/** Samples per second of all audio inside the service. */
export const SAMPLE_RATE = 16_000;

/** Seconds to the nearest sample. */
export const toSamples = (seconds: number): number => Math.round(seconds * SAMPLE_RATE);

/** Samples to seconds, rounded to the millisecond as the wire shows it. */
export const toSeconds = (samples: number): number => Math.round((samples / SAMPLE_RATE) * 1000) / 1000;

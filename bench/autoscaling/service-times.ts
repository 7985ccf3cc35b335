// How long an engine takes for a window: read from profiles.json, which says of each figure whether it was measured.

import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Random } from './random.ts';

const profileSchema = z.strictObject({
  title: z.string(),
  basis: z.enum(['measured', 'assumption']),
  /** Which measurements, or why it is assumed. */
  source: z.string().min(1),
  /** Of a replica: windows that it works on at a time, each in the time of one engine. */
  engines: z.int().positive(),
  /** How long a final window holds an engine, by how many live streams an engine has. */
  finalSeconds: z
    .array(z.strictObject({ streamsPerEngine: z.number().positive(), seconds: z.number().positive() }))
    .min(1)
    .refine((points) => points.every((point, index) => index === 0 || point.streamsPerEngine > points[index - 1]!.streamsPerEngine), {
      error: 'streamsPerEngine has to rise',
    }),
  /** How much of that time the service's own meter sees, by which streams are admitted: the engines' threads, not what runs beside them. */
  meteredShare: z.number().positive().max(1),
  /** Standard deviation over mean of how long a window holds its engine up for others, batches and beams included. */
  variation: z.number().min(0),
  /** What a window takes beside it without holding the engine up, as in a batch that others share. */
  passSeconds: z.number().min(0),
  partialSeconds: z.number().positive(),
});

export type ServiceProfile = z.infer<typeof profileSchema>;

const profilesSchema = z.record(z.string(), profileSchema);

export async function readProfiles(path: string | URL): Promise<Readonly<Record<string, ServiceProfile>>> {
  return profilesSchema.parse(JSON.parse(await readFile(path, 'utf8')));
}

/** Straight lines between the points, level beyond them. */
export function meanFinalSeconds({ finalSeconds }: ServiceProfile, streamsPerEngine: number): number {
  const above = finalSeconds.findIndex((point) => point.streamsPerEngine >= streamsPerEngine);
  if (above === -1) return finalSeconds.at(-1)!.seconds;
  const high = finalSeconds[above]!;
  if (above === 0) return high.seconds;
  const low = finalSeconds[above - 1]!;
  const within = (streamsPerEngine - low.streamsPerEngine) / (high.streamsPerEngine - low.streamsPerEngine);
  return low.seconds + within * (high.seconds - low.seconds);
}

const FACTORS = 4096;

/**
 * Factors with a mean of 1 that spread windows about their mean time, log-normally. A table, since a logarithm for each of a hundred
 * million windows takes longer than all the rest.
 */
export function spreadFactors(variation: number, random: Random): Float64Array {
  const factors = Float64Array.from({ length: FACTORS }, () => random.logNormal(1, variation));
  const mean = factors.reduce((sum, factor) => sum + factor, 0) / FACTORS;
  return factors.map((factor) => factor / mean);
}

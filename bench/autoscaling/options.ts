// What is simulated: the command line, with its help.

import { parseArgs } from 'node:util';

export interface AutoscalingOptions {
  readonly peakStreams: number;
  readonly hours: number;
  readonly callMinutes: number;
  readonly callVariation: number;
  /** Share of the streams that show drafts. */
  readonly draftShare: number;
  /** null: an office day. */
  readonly shareByHour: readonly number[] | null;
  readonly profile: string;
  readonly profiles: string | null;
  readonly serveConfig: string | null;
  /** Instead of the file's. */
  readonly asrReplicas: readonly [number, number] | null;
  readonly serverReplicas: readonly [number, number] | null;
  readonly asrPerNode: number;
  readonly serversPerNode: number;
  readonly nodeStartSeconds: readonly [number, number];
  readonly asrStartSeconds: readonly [number, number];
  readonly serverStartSeconds: readonly [number, number];
  readonly nodeIdleSeconds: number;
  readonly seed: number;
  readonly out: string | null;
}

const HELP = `npm run bench:autoscaling -- [options]

Simulates a day: callers come and go, their windows queue at recognisers, admission refuses whom it has no room for, Ray Serve's
autoscaling adds and takes away replicas, machines take their time to start. Writes JSON and a plot into bench/results/. No model, no
audio, no cluster: what it knows of the engine is in bench/autoscaling/profiles.json.

  --peak-streams N       streams at once in the busiest hour, if none were refused (default 1000)
  --hours N              (default 24)
  --call-minutes N       mean length of a stream (default 6)
  --call-variation N     standard deviation of the lengths over their mean; log-normal (default 1)
  --drafts N             share of the streams that ask for drafts, interim_results (default 1)
  --by-hour A,B,...      24 numbers: calls in each hour as a share of the busiest (default an office day)
  --profile NAME         of the file of profiles (default base-int8-2-vnni-cores)
  --profiles FILE        (default bench/autoscaling/profiles.json)
  --serve-config FILE    autoscaling of both deployments (default deploy/serve.yaml)
  --asr-replicas MIN:MAX       instead of the file's
  --server-replicas MIN:MAX    instead of the file's
  --asr-per-node N       recognisers that fit on a machine (default 3, of the pods in deploy/base on 8 vCPUs and 16 GiB)
  --servers-per-node N   (default 4)
  --node-seconds A:B     from the order of a machine until its image is there (default 90:150)
  --asr-start-seconds A:B      until a recogniser serves on a machine that is there (default 8:15)
  --server-start-seconds A:B   (default 3:6)
  --node-idle-seconds N  an empty machine is given back after so long (default 120)
  --seed N               (default 1)
  --out FILE             the JSON result (default bench/results/DATE-COMMIT-autoscaling.json); the plot goes beside it
  --help`;

const OPTIONS = {
  'peak-streams': { type: 'string' },
  hours: { type: 'string' },
  'call-minutes': { type: 'string' },
  'call-variation': { type: 'string' },
  drafts: { type: 'string' },
  'by-hour': { type: 'string' },
  profile: { type: 'string' },
  profiles: { type: 'string' },
  'serve-config': { type: 'string' },
  'asr-replicas': { type: 'string' },
  'server-replicas': { type: 'string' },
  'asr-per-node': { type: 'string' },
  'servers-per-node': { type: 'string' },
  'node-seconds': { type: 'string' },
  'asr-start-seconds': { type: 'string' },
  'server-start-seconds': { type: 'string' },
  'node-idle-seconds': { type: 'string' },
  seed: { type: 'string' },
  out: { type: 'string' },
  help: { type: 'boolean' },
} as const;

type Name = Exclude<keyof typeof OPTIONS, 'help'>;

/** Help was asked for and is returned to be printed, or the options. */
export function parseAutoscalingOptions(args: readonly string[]): { options: AutoscalingOptions } | { help: string } {
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  if (values.help === true) return { help: HELP };
  const number = (name: Name, fallback: number, isGood: (value: number) => boolean): number => {
    const value = values[name] === undefined ? fallback : Number(values[name]);
    if (!Number.isFinite(value) || !isGood(value)) throw new Error(`--${name}: got ${values[name]}`);
    return value;
  };
  const range = (name: Name, isGood: (value: number) => boolean): [number, number] | null => {
    if (values[name] === undefined) return null;
    const [low = Number.NaN, high = Number.NaN, ...more] = values[name].split(':').map(Number);
    if (!(isGood(low) && isGood(high) && low <= high) || more.length > 0)
      throw new Error(`--${name}: got ${values[name]}, expected LOW:HIGH`);
    return [low, high];
  };
  const byHour = values['by-hour']?.split(',').map(Number) ?? null;
  if (byHour !== null && !(byHour.length === 24 && byHour.every((share) => share >= 0) && byHour.some(isPositive))) {
    throw new Error('--by-hour: expected 24 numbers of 0 or more, not all of them 0');
  }
  return {
    options: {
      peakStreams: number('peak-streams', 1000, isPositive),
      hours: number('hours', 24, isCount),
      callMinutes: number('call-minutes', 6, isPositive),
      callVariation: number('call-variation', 1, isNotNegative),
      draftShare: number('drafts', 1, isShare),
      shareByHour: byHour,
      profile: values.profile ?? 'base-int8-2-vnni-cores',
      profiles: values.profiles ?? null,
      serveConfig: values['serve-config'] ?? null,
      asrReplicas: range('asr-replicas', isCount),
      serverReplicas: range('server-replicas', isCount),
      asrPerNode: number('asr-per-node', 3, isCount),
      serversPerNode: number('servers-per-node', 4, isCount),
      nodeStartSeconds: range('node-seconds', isNotNegative) ?? [90, 150],
      asrStartSeconds: range('asr-start-seconds', isNotNegative) ?? [8, 15],
      serverStartSeconds: range('server-start-seconds', isNotNegative) ?? [3, 6],
      nodeIdleSeconds: number('node-idle-seconds', 120, isNotNegative),
      seed: number('seed', 1, Number.isInteger),
      out: values.out ?? null,
    },
  };
}

const isPositive = (value: number): boolean => value > 0;
const isNotNegative = (value: number): boolean => value >= 0;
const isShare = (value: number): boolean => value >= 0 && value <= 1;
const isCount = (value: number): boolean => Number.isInteger(value) && value > 0;

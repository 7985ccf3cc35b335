// deploy/serve.yaml and its like: read, checked as far as it is used here, and adapted to a machine and a command line.
//
// Serve checks the rest (ray.serve.schema.ServeDeploySchema); test/serve-yaml.test.ts does so ahead of time.

import { parse } from 'yaml';
import { z } from 'zod';
import { CommandError } from '../command-error.ts';

/** Names of the deployments in python/whisper_serve. */
export const SERVER_DEPLOYMENT = 'TranscriptionServer';
export const ASR_DEPLOYMENT = 'WhisperASR';

/** Windows in flight by which a replica on a GPU is scaled, and its engines: as deploy/overlays/gpu/serve.yaml has it, and why. */
const GPU_TARGET = 16;
const GPU_ENGINES = 2;

const actorOptionsSchema = z.looseObject({ num_cpus: z.number().optional(), num_gpus: z.number().optional() });
const autoscalingSchema = z.looseObject({
  min_replicas: z.number().optional(),
  max_replicas: z.number().optional(),
  target_ongoing_requests: z.number().optional(),
});
const deploymentSchema = z.looseObject({
  name: z.string(),
  num_replicas: z.union([z.number(), z.string()]).optional(),
  autoscaling_config: autoscalingSchema.optional(),
  ray_actor_options: actorOptionsSchema.optional(),
});
const applicationSchema = z.looseObject({
  name: z.string(),
  route_prefix: z.string().nullable().optional(),
  import_path: z.string(),
  args: z.record(z.string(), z.unknown()).optional(),
  runtime_env: z.looseObject({ env_vars: z.record(z.string(), z.string()).optional() }).optional(),
  deployments: z.array(deploymentSchema).optional(),
});
const configSchema = z.looseObject({
  http_options: z.looseObject({ host: z.string().optional(), port: z.number().optional() }).optional(),
  applications: z.array(applicationSchema).min(1),
});

export type ServeConfig = z.infer<typeof configSchema>;
type Application = z.infer<typeof applicationSchema>;
export type Deployment = z.infer<typeof deploymentSchema>;

export interface ReplicaRange {
  readonly min: number;
  readonly max: number;
}

/** What of the file gives way; what is left out stays as it is there. */
export interface Adaptation {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** Arguments of the application builder that are asked for, for instance `{ model: 'small' }`; for one application only. @default {} */
  readonly args?: Readonly<Record<string, unknown>>;
  /** Arguments that this machine has an answer to; the file's own go before them. @default {} */
  readonly machineArgs?: Readonly<Record<string, unknown>>;
  /** The same below `server`. @default {} */
  readonly serverArgs?: Readonly<Record<string, unknown>>;
  readonly serverReplicas?: ReplicaRange | undefined;
  readonly asrReplicas?: ReplicaRange | undefined;
  /** Engines of a WhisperASR replica, a logical CPU each; the windows in flight that it is scaled by go with them. */
  readonly engines?: number | undefined;
  /** Share of a GPU, or number of GPUs, of a WhisperASR replica. @default the file's; one where `args` ask for `cuda` and it takes none there */
  readonly gpusPerReplica?: number | undefined;
  /** For the applications' processes. @default {} */
  readonly environment?: Readonly<Record<string, string>>;
}

/** @param source for messages, usually the file's path */
export function parseServeConfig(text: string, source: string): ServeConfig {
  let value: unknown;
  try {
    // as PyYAML does, by which `serve deploy` reads
    value = parse(text, { merge: true });
  } catch (error) {
    throw new CommandError(`${source} is not YAML: ${(error as Error).message}`);
  }
  const result = configSchema.safeParse(value);
  if (result.success) return result.data;
  throw new CommandError(`${source} is no configuration of Serve:\n${z.prettifyError(result.error)}`);
}

export function adaptServeConfig(config: ServeConfig, adaptation: Adaptation): ServeConfig {
  const { environment = {}, engines, host, port } = adaptation;
  const args = { ...adaptation.args, ...(engines !== undefined && { engines }) };
  const names = config.applications.map(({ name }) => name);
  const keys = Object.keys(args);
  if (keys.length > 0 && names.length > 1) {
    throw new CommandError(`The configuration has the applications ${names.join(', ')}: ${keys.join(', ')} must be said there.`);
  }
  return {
    ...config,
    http_options: { ...config.http_options, ...(host !== undefined && { host }), ...(port !== undefined && { port }) },
    applications: config.applications.map((application) => ({
      ...application,
      args: { ...withDefaults(application.args, adaptation), ...args },
      runtime_env: { ...application.runtime_env, env_vars: { ...environment, ...application.runtime_env?.env_vars } },
      deployments: adaptDeployments(application, adaptation),
    })),
  };
}

function withDefaults(args: Application['args'], { machineArgs, serverArgs = {} }: Adaptation): Record<string, unknown> {
  const { server, ...others } = { ...machineArgs, ...args };
  const merged = server === undefined || isRecord(server) ? { ...serverArgs, ...server } : server;
  return server === undefined && Object.keys(serverArgs).length === 0 ? others : { ...others, server: merged };
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function adaptDeployments(application: Application, adaptation: Adaptation): Deployment[] {
  return (application.deployments ?? []).map((deployment) => {
    if (deployment.name === SERVER_DEPLOYMENT) return withReplicas(deployment, adaptation.serverReplicas);
    if (deployment.name !== ASR_DEPLOYMENT) return deployment;
    return withReplicas(adaptRecogniser(deployment, application, adaptation), adaptation.asrReplicas);
  });
}

function adaptRecogniser(given: Deployment, application: Application, { args, engines, gpusPerReplica }: Adaptation): Deployment {
  const deployment = args?.device === 'cuda' && gpusOf(given) === 0 ? onGpu(given) : given;
  return {
    ...(engines === undefined ? deployment : withEngines(deployment, application, engines)),
    ray_actor_options: {
      ...deployment.ray_actor_options,
      ...(engines !== undefined && { num_cpus: engines }),
      ...(gpusPerReplica !== undefined && { num_gpus: gpusPerReplica }),
    },
  };
}

/** A whole GPU, and a target for it in place of that for processors. */
function onGpu(deployment: Deployment): Deployment {
  return {
    ...withTarget(deployment, GPU_TARGET),
    ray_actor_options: { ...deployment.ray_actor_options, num_gpus: 1 },
  };
}

const engineArgsSchema = z.looseObject({ engines: z.number().nullish(), threads: z.number().nullish() });

/** The file's target is one for the engines that a replica has there: each keeps its share of it. */
function withEngines(deployment: Deployment, application: Application, engines: number): Deployment {
  const target = deployment.autoscaling_config?.target_ongoing_requests;
  if (target === undefined) return deployment;
  const { engines: given, threads } = engineArgsSchema.safeParse(application.args ?? {}).data ?? {};
  // as python/whisper_serve/command_line.py counts them
  const onProcessors = Math.max(1, Math.floor(cpusOf(deployment) / (threads ?? 1)));
  const formerEngines = given ?? (gpusOf(deployment) > 0 ? GPU_ENGINES : onProcessors);
  return withTarget(deployment, Number(((target / formerEngines) * engines).toFixed(3)));
}

function withTarget(deployment: Deployment, target: number): Deployment {
  const { autoscaling_config } = deployment;
  if (autoscaling_config?.target_ongoing_requests === undefined) return deployment;
  return { ...deployment, autoscaling_config: { ...autoscaling_config, target_ongoing_requests: target } };
}

function withReplicas(deployment: Deployment, range: ReplicaRange | undefined): Deployment {
  if (range === undefined) return deployment;
  const { num_replicas: _fixed, autoscaling_config, ...rest } = deployment;
  const initial = autoscaling_config?.initial_replicas === undefined ? {} : { initial_replicas: range.min };
  return { ...rest, autoscaling_config: { ...autoscaling_config, ...initial, min_replicas: range.min, max_replicas: range.max } };
}

/** Serve's own default is one CPU for a replica. */
export const cpusOf = ({ ray_actor_options }: Deployment): number => ray_actor_options?.num_cpus ?? 1;

export const gpusOf = ({ ray_actor_options }: Deployment): number => ray_actor_options?.num_gpus ?? 0;

/** Longest times that the applications ask for, in seconds: Ray's processes have one setting for all of them. */
export interface StreamTimes {
  readonly drainSeconds: number;
  readonly maxStreamSeconds: number;
}

const serverArgsSchema = z.looseObject({
  server: z.looseObject({ drain_seconds: z.number().nullish(), max_stream_seconds: z.number().nullish() }).optional(),
});

/** Defaults as in python/whisper_serve/arguments.py and in `serve --help`. */
const [DEFAULT_DRAIN_SECONDS, DEFAULT_MAX_STREAM_SECONDS] = [15, 43_200];

export function streamTimes(config: ServeConfig): StreamTimes {
  const servers = config.applications.map(({ args = {} }) => serverArgsSchema.safeParse(args).data?.server);
  return {
    drainSeconds: Math.max(...servers.map((server) => server?.drain_seconds ?? DEFAULT_DRAIN_SECONDS)),
    maxStreamSeconds: Math.max(...servers.map((server) => server?.max_stream_seconds ?? DEFAULT_MAX_STREAM_SECONDS)),
  };
}

// From the command line, a serve.yaml and the profiles to what is simulated.

import { readFile } from 'node:fs/promises';
import { ASR_DEPLOYMENT, parseServeConfig, SERVER_DEPLOYMENT } from '../../src/cli/ray/serve-config.ts';
import { type AutoscalingConfig, readAutoscaling } from './autoscaler.ts';
import { callsOf, OFFICE_DAY } from './callers.ts';
import type { NodeOptions } from './nodes.ts';
import type { AutoscalingOptions } from './options.ts';
import { createRandom } from './random.ts';
import { readProfiles } from './service-times.ts';
import type { DayOptions } from './simulate.ts';

const SERVE_CONFIG = new URL('../../deploy/serve.yaml', import.meta.url);
const PROFILES = new URL('profiles.json', import.meta.url);

/** As `serve` has it where the file says nothing. */
const DEFAULT_MAX_SESSIONS = 1024;
const DEFAULT_DRAIN_SECONDS = 15;

export async function dayOptions(options: AutoscalingOptions): Promise<DayOptions> {
  const profiles = await readProfiles(options.profiles ?? PROFILES);
  const profile = profiles[options.profile];
  if (profile === undefined) throw new Error(`--profile: ${options.profile} is none of ${Object.keys(profiles).join(', ')}`);
  const source = options.serveConfig ?? SERVE_CONFIG;
  const [application] = parseServeConfig(await readFile(source, 'utf8'), String(source)).applications;
  const autoscaling = (name: string, replicas: readonly [number, number] | null): AutoscalingConfig => {
    const deployment = application?.deployments?.find((candidate) => candidate.name === name);
    const config = readAutoscaling(deployment?.autoscaling_config);
    return replicas === null ? config : { ...config, minReplicas: replicas[0], maxReplicas: replicas[1] };
  };
  const nodes = (replicasPerNode: number, replicaStartSeconds: readonly [number, number]): NodeOptions => {
    return { replicasPerNode, replicaStartSeconds, nodeStartSeconds: options.nodeStartSeconds, idleSeconds: options.nodeIdleSeconds };
  };
  const server = application?.args?.server as { admit_all?: boolean; drain_seconds?: number; max_sessions?: number } | undefined;
  const calls = {
    peakStreams: options.peakStreams,
    meanSeconds: options.callMinutes * 60,
    variation: options.callVariation,
    shareByHour: options.shareByHour ?? OFFICE_DAY,
    hours: options.hours,
  };
  return {
    // of their own, so that the same callers come whatever the cluster is like
    calls: callsOf(calls, createRandom(options.seed)),
    random: createRandom(options.seed + 1),
    hours: options.hours,
    profile,
    server: {
      autoscaling: autoscaling(SERVER_DEPLOYMENT, options.serverReplicas),
      nodes: nodes(options.serversPerNode, options.serverStartSeconds),
    },
    asr: { autoscaling: autoscaling(ASR_DEPLOYMENT, options.asrReplicas), nodes: nodes(options.asrPerNode, options.asrStartSeconds) },
    drainSeconds: server?.drain_seconds ?? DEFAULT_DRAIN_SECONDS,
    maxSessions: server?.max_sessions ?? DEFAULT_MAX_SESSIONS,
    draftShare: options.draftShare,
    admitAll: server?.admit_all ?? false,
  };
}

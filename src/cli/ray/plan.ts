// What `ray start` is going to do, decided before anything runs: configuration, addresses, ports, names.

import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { DeviceWish } from '../../engine/device.ts';
import { CommandError } from '../command-error.ts';
import type { HeadPorts } from './cluster.ts';
import { environmentArgs } from './environment-args.ts';
import { fitReplicas, leastRoom, type Room } from './fit-replicas.ts';
import type { WantedPort } from './ports.ts';
import { applicationEnvironment, LAUNCHER, rayEnvironment } from './ray-environment.ts';
import {
  type Adaptation,
  ASR_DEPLOYMENT,
  adaptServeConfig,
  parseServeConfig,
  type ReplicaRange,
  SERVER_DEPLOYMENT,
  type ServeConfig,
  streamTimes,
} from './serve-config.ts';

export interface PlanOptions extends Pick<Adaptation, 'asrReplicas' | 'gpusPerReplica' | 'serverReplicas'> {
  /** A file for `serve deploy`. @default deploy/serve.yaml of this package */
  readonly config?: string;
  readonly model?: string;
  readonly device?: DeviceWish['device'];
  readonly precision?: DeviceWish['precision'];
  /** Engines of a WhisperASR replica; each counts as a logical CPU. */
  readonly engines?: number;
  readonly cache: string;
  /** Address that the service listens on. */
  readonly host: string;
  /** @default the configuration's, or 8000 */
  readonly port?: number;
  readonly rayPort: number;
  readonly dashboardPort: number;
  readonly metricsPort: number;
  /** Logical CPUs. @default the machine's, or what the least number of replicas asks for if that is more */
  readonly cpus?: number;
  /** Logical GPUs. @default those that Ray finds */
  readonly gpus?: number;
}

export interface Plan {
  /** As asked for. */
  readonly config: ServeConfig;
  /** The same with no more replicas than a Ray of our own has room for. */
  readonly fittedConfig: ServeConfig;
  readonly applications: readonly string[];
  readonly dashboardUrl: string;
  readonly serviceUrl: string;
  readonly metricsUrl: string;
  /** Of a Ray of our own. */
  readonly ports: HeadPorts;
  readonly wantedPorts: readonly WantedPort[];
  readonly environment: Readonly<Record<string, string>>;
  readonly cpus: number;
  readonly gpus?: number;
}

type Variables = Readonly<Record<string, string | undefined>>;

const DEFAULT_CONFIG = fileURLToPath(new URL('../../../deploy/serve.yaml', import.meta.url));
/** Serve's own. */
const DEFAULT_SERVICE_PORT = 8000;
const ANY_ADDRESS = ['0.0.0.0', '::'];

export async function planRay(options: PlanOptions, inherited: Variables): Promise<Plan> {
  const { cpus, dashboardPort, gpus, host, metricsPort, rayPort } = options;
  const read = await readConfig(options.config ?? DEFAULT_CONFIG);
  const config = adapt(read, options, inherited);
  // what is asked for by name shall find room
  const roomy = adapt(
    read,
    { ...options, asrReplicas: atMost(options.asrReplicas), serverReplicas: atMost(options.serverReplicas) },
    inherited,
  );
  const least = leastRoom(config);
  const room = { cpus: cpus ?? Math.max(availableParallelism(), Math.ceil(leastRoom(roomy).cpus)), gpus: gpus ?? Number.POSITIVE_INFINITY };
  refuseTooLittle('cpus', 'CPUs', least, room);
  refuseTooLittle('gpus', 'GPUs', least, room);
  const port = config.http_options?.port ?? DEFAULT_SERVICE_PORT;
  const local = (port: number): string => `http://127.0.0.1:${port}`;
  const shownHost = host.includes(':') ? `[${host}]` : host;
  return {
    config,
    fittedConfig: fitReplicas(config, room, namedDeployments(options)),
    applications: config.applications.map(({ name }) => name),
    dashboardUrl: local(dashboardPort),
    serviceUrl: ANY_ADDRESS.includes(host) ? local(port) : `http://${shownHost}:${port}`,
    metricsUrl: `${local(metricsPort)}/metrics`,
    ports: { ray: rayPort, dashboard: dashboardPort, metrics: metricsPort },
    wantedPorts: wantedPorts(options, port, inherited),
    environment: rayEnvironment({ inherited, ...streamTimes(config) }),
    cpus: room.cpus,
    ...(gpus !== undefined && { gpus }),
  };
}

function refuseTooLittle(key: keyof Room, what: string, least: Room, room: Room): void {
  if (room[key] >= least[key]) return;
  throw new CommandError(`The replicas ask for ${least[key]} logical ${what} at least; --${key} is ${room[key]}.`);
}

async function readConfig(path: string): Promise<ServeConfig> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new CommandError(`The configuration cannot be read: ${error.message}`, { cause: error });
  });
  return parseServeConfig(text, path);
}

function adapt(config: ServeConfig, options: AdaptedOptions, inherited: Variables): ServeConfig {
  const { asrReplicas, cache, device, engines, gpusPerReplica, host, model, port, precision, serverReplicas } = options;
  const { args, serverArgs } = environmentArgs(inherited);
  return adaptServeConfig(config, {
    host,
    port,
    args: withoutUndefined({ model, device, precision }),
    machineArgs: { cache, node: process.execPath, launcher: LAUNCHER, ...args },
    serverArgs,
    // the time makes Serve take up an application anew that failed before, or whose code has changed since
    environment: { ...applicationEnvironment(inherited), WHISPER_DEPLOYED_AT: new Date().toISOString() },
    serverReplicas,
    asrReplicas,
    engines,
    gpusPerReplica,
  });
}

/** As commander gives them, or changed: an option that is not given may be there as undefined. */
type AdaptedOptions = { readonly [Name in keyof PlanOptions]: PlanOptions[Name] | undefined } & Pick<PlanOptions, 'cache' | 'host'>;

const namedDeployments = ({ asrReplicas, serverReplicas }: PlanOptions): string[] => [
  ...(asrReplicas === undefined ? [] : [ASR_DEPLOYMENT]),
  ...(serverReplicas === undefined ? [] : [SERVER_DEPLOYMENT]),
];

const atMost = (range: ReplicaRange | undefined): ReplicaRange | undefined => range && { min: range.max, max: range.max };

const withoutUndefined = (values: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

/** Ports of a Ray of our own; those of HAProxy as ray/serve/_private/constants.py has them. */
function wantedPorts(options: PlanOptions, servicePort: number, inherited: Variables): WantedPort[] {
  const byVariable = (name: string, port: number, purpose: string): WantedPort => {
    return { port: Number(inherited[name] || port), purpose, changedBy: name };
  };
  return [
    { port: servicePort, host: options.host, purpose: 'the service', changedBy: '--port' },
    { port: options.dashboardPort, host: '127.0.0.1', purpose: "Ray's dashboard", changedBy: '--dashboard-port' },
    { port: options.rayPort, purpose: "Ray's head", changedBy: '--ray-port' },
    { port: options.metricsPort, purpose: "Ray's metrics", changedBy: '--metrics-port' },
    { port: 10_001, purpose: 'Ray Client' },
    { port: 52_365, purpose: "Ray's dashboard agent" },
    byVariable('RAY_SERVE_HAPROXY_METRICS_PORT', 9101, "HAProxy's metrics"),
    byVariable('RAY_SERVE_HAPROXY_STATS_PORT', 8404, "HAProxy's statistics"),
    byVariable('RAY_SERVE_FALLBACK_PROXY_HTTP_PORT', 8500, "Serve's fallback proxy"),
  ];
}

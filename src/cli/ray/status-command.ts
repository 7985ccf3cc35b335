// `ray status`: is Ray there, does the service run on it, and what do its replicas do.

import { type DeploymentDetails, ServeApi, type ServeDetails } from './serve-api.ts';
import { mayRun, readState, type StateKey } from './state-file.ts';

export interface StatusOptions extends StateKey {
  readonly json: boolean;
  readonly metricsPort: number;
}

export interface RayStatus {
  /** Every application that the state file names runs; without one, every application of Serve. */
  readonly running: boolean;
  readonly ray: { readonly version: string; readonly dashboardUrl: string; readonly ours: boolean } | null;
  readonly serviceUrl: string | null;
  readonly applications: readonly ApplicationStatus[];
}

export interface ApplicationStatus {
  readonly name: string;
  readonly status: string;
  readonly message: string;
  readonly deployments: readonly DeploymentStatus[];
}

export interface DeploymentStatus {
  readonly name: string;
  readonly status: string;
  readonly message: string;
  readonly targetReplicas: number;
  readonly replicas: readonly ReplicaStatus[];
}

export interface ReplicaStatus {
  readonly id: string;
  readonly state: string;
  readonly pid: number | null;
  readonly upSeconds: number;
  /** Streams and files of a server, windows of an ASR replica; null where the metrics do not say. */
  readonly ongoingRequests: number | null;
}

/** Ray's name for it, and the labels that tell replicas apart. */
const LOAD_METRIC = /^ray_serve_replica_processing_queries\{(.*)\} (\S+)$/;
const METRICS_TIMEOUT_MS = 3000;

export async function readStatus(options: StatusOptions, signal: AbortSignal): Promise<RayStatus> {
  const state = await readState(options);
  const dashboardUrl = state?.dashboardUrl ?? `http://127.0.0.1:${options.dashboardPort}`;
  const api = new ServeApi(dashboardUrl, process.env);
  const version = await api.rayVersion(signal);
  if (version === null) return { running: false, ray: null, serviceUrl: null, applications: [] };
  const [details, load] = await Promise.all([
    api.details(signal),
    readLoad(state?.metricsUrl ?? `http://127.0.0.1:${options.metricsPort}/metrics`, signal),
  ]);
  const applications = summarize(details, load, Date.now());
  const wanted = state?.applications ?? applications.map(({ name }) => name);
  const runs = (name: string): boolean => applications.some((application) => application.name === name && application.status === 'RUNNING');
  return {
    running: wanted.length > 0 && wanted.every(runs),
    ray: { version, dashboardUrl, ours: state !== null && state.own !== null && mayRun(state) },
    serviceUrl: state?.serviceUrl ?? null,
    applications,
  };
}

/** @param load ongoing requests by replica id */
export function summarize(details: ServeDetails, load: ReadonlyMap<string, number>, nowMs: number): ApplicationStatus[] {
  const replicasOf = ({ replicas }: DeploymentDetails): ReplicaStatus[] =>
    replicas.map(({ pid, replica_id, start_time_s, state }) => ({
      id: replica_id,
      state,
      pid,
      upSeconds: Math.max(0, Math.round(nowMs / 1000 - start_time_s)),
      ongoingRequests: load.get(replica_id) ?? null,
    }));
  return Object.entries(details.applications).map(([name, { deployments, message, status }]) => ({
    name,
    status,
    message,
    deployments: Object.entries(deployments).map(([deployment, found]) => ({
      name: deployment,
      status: found.status,
      message: found.message,
      targetReplicas: found.target_num_replicas,
      replicas: replicasOf(found),
    })),
  }));
}

async function readLoad(url: string, signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
  const timeout = AbortSignal.any([signal, AbortSignal.timeout(METRICS_TIMEOUT_MS)]);
  // somebody else's Ray may have its metrics anywhere: then the column stays empty
  const response = await fetch(url, { signal: timeout }).catch(() => null);
  return parseLoad(response?.ok ? await response.text() : '');
}

/** Ongoing requests by replica id, from Prometheus' text format. */
export function parseLoad(text: string): Map<string, number> {
  const load = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [, labels = '', value] = LOAD_METRIC.exec(line) ?? [];
    const replica = /(?:^|,)replica="([^"]*)"/.exec(labels)?.[1];
    if (replica !== undefined) load.set(replica, Number(value));
  }
  return load;
}

const HEADINGS = ['DEPLOYMENT', 'REPLICA', 'STATE', 'LOAD', 'UP', 'PID'];

/** For a person: what is there, and a line for every replica. */
export function formatStatus({ applications, ray, serviceUrl }: RayStatus): string {
  if (ray === null) return 'Ray does not run.';
  const lines = [`Ray ${ray.version} at ${ray.dashboardUrl}${ray.ours ? '' : ' (not started from here)'}`];
  if (applications.length === 0) return [...lines, 'Serve has no applications.'].join('\n');
  for (const { deployments, message, name, status } of applications) {
    const where = serviceUrl === null ? '' : ` at ${serviceUrl}`;
    lines.push('', `${name} ${status}${status === 'RUNNING' ? where : ''}${message ? `: ${message}` : ''}`);
    const rows = [HEADINGS, ...deployments.flatMap(deploymentRows)];
    const widths = HEADINGS.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
    for (const row of rows)
      lines.push(
        row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd(),
      );
    for (const { message, name } of deployments) if (message) lines.push(`${name}: ${message}`);
  }
  return lines.join('\n');
}

function deploymentRows({ name, replicas, status, targetReplicas }: DeploymentStatus): string[][] {
  const running = replicas.filter(({ state }) => state === 'RUNNING').length;
  const rows = replicas.map(({ id, ongoingRequests, pid, state, upSeconds }) => {
    return ['', id, state, String(ongoingRequests ?? '-'), duration(upSeconds), String(pid ?? '-')];
  });
  return [[name, `${running} of ${targetReplicas}`, status, '', '', ''], ...rows];
}

/** For instance `2 d 3 h`, `3 h 5 min`, `5 min`, `12 s`. */
function duration(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// Serve's REST interface at Ray's dashboard: which Ray is there, what runs on it, and how a configuration gets there.

import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import { CommandError } from '../command-error.ts';
import type { ServeConfig } from './serve-config.ts';

/** Of ray.serve.schema.ServeInstanceDetails, what is used here. */
export interface ServeDetails {
  readonly applications: Readonly<Record<string, ApplicationDetails>>;
}

export interface ApplicationDetails {
  readonly status: 'NOT_STARTED' | 'DEPLOYING' | 'DEPLOY_FAILED' | 'RUNNING' | 'UNHEALTHY' | 'DELETING';
  readonly message: string;
  readonly route_prefix: string | null;
  readonly deployments: Readonly<Record<string, DeploymentDetails>>;
}

export interface DeploymentDetails {
  readonly status: string;
  readonly message: string;
  readonly target_num_replicas: number;
  readonly replicas: readonly ReplicaDetails[];
}

export interface ReplicaDetails {
  readonly replica_id: string;
  readonly state: string;
  readonly pid: number | null;
  readonly start_time_s: number;
}

const REQUEST_TIMEOUT_MS = 30_000;
/** Replicas drain before it is done. */
const SHUTDOWN_TIMEOUT_MS = 30 * 60_000;
const POLL_MS = 500;
/** Ray colours the tracebacks that it sends. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what these begin with
const COLOURS = /\x1b\[\d+m/g;

/** Somebody's answer that is not what was asked for. */
class HttpError extends CommandError {}

export class ServeApi {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;

  /** @param url of the dashboard, for instance http://127.0.0.1:8265 */
  constructor(url: string, environment: Readonly<Record<string, string | undefined>>) {
    this.#url = url;
    const token = authToken(environment);
    this.#headers = token === null ? {} : { authorization: `Bearer ${token}` };
  }

  /** The version of the Ray that answers there, or null where nothing does. Throws where it is something else. */
  async rayVersion(signal?: AbortSignal): Promise<string | null> {
    let text: string;
    try {
      text = await this.#request('GET', '/api/version', undefined, signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof HttpError) throw new CommandError(`${this.#url} is not Ray's dashboard, or not for us: ${error.message}`);
      return null;
    }
    const version = (parse(text) as { ray_version?: unknown } | null)?.ray_version;
    if (typeof version !== 'string') throw new CommandError(`${this.#url} is in use, and not by Ray's dashboard.`);
    return version;
  }

  async details(signal?: AbortSignal): Promise<ServeDetails> {
    return JSON.parse(await this.#request('GET', '/api/serve/applications/', undefined, signal)) as ServeDetails;
  }

  /** Applications that Serve has and the configuration has not are removed by this. */
  async deploy(config: ServeConfig, signal?: AbortSignal): Promise<void> {
    await this.#request('PUT', '/api/serve/applications/', JSON.stringify(config), signal);
  }

  /** Ends Serve with all that runs on it. */
  async shutdown(signal?: AbortSignal): Promise<void> {
    await this.#request('DELETE', '/api/serve/applications/', undefined, signal, SHUTDOWN_TIMEOUT_MS);
  }

  async #request(method: string, path: string, body?: string, signal?: AbortSignal, timeoutMs = REQUEST_TIMEOUT_MS): Promise<string> {
    const timeout = AbortSignal.timeout(timeoutMs);
    // not fetch: it sends headers of a browser's, and from browsers the dashboard takes no changes
    const response = await request(`${this.#url}${path}`, {
      method,
      headers: { ...this.#headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      headersTimeout: timeoutMs,
      body: body ?? null,
    });
    const text = await response.body.text();
    const { statusCode } = response;
    if (statusCode !== 200) throw new HttpError(`${method} ${path} answered ${statusCode}: ${text.trim().slice(0, 2000)}`);
    return text;
  }
}

/** Resolves when every application runs; rejects with Serve's message where one cannot. */
export async function waitUntilRunning(
  api: ServeApi,
  names: readonly string[],
  onProgress: (step: string) => void,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const { applications } = await api.details(signal);
    for (const name of names) {
      const { status, message = '', deployments = {} } = applications[name] ?? {};
      // UNHEALTHY may pass
      if (status !== 'DEPLOY_FAILED') continue;
      const causes = Object.entries(deployments).map(([deployment, { message }]) => (message ? `${deployment}: ${message}` : ''));
      throw new CommandError([`Application ${name} is ${status}. ${message}`, ...causes].join('\n').replaceAll(COLOURS, '').trim());
    }
    if (names.every((name) => applications[name]?.status === 'RUNNING')) return;
    onProgress(names.map((name) => describeApplication(name, applications[name])).join('; '));
    await delay(POLL_MS, undefined, { signal });
  }
}

/** For instance `whisper: TranscriptionServer 1 of 1, WhisperASR 0 of 1`. */
function describeApplication(name: string, details: ApplicationDetails | undefined): string {
  const deployments = Object.entries(details?.deployments ?? {}).map(([deployment, { replicas, target_num_replicas }]) => {
    const running = replicas.filter(({ state }) => state === 'RUNNING').length;
    return `${deployment} ${running} of ${target_num_replicas}`;
  });
  return `${name}: ${deployments.length === 0 ? 'deploying' : deployments.join(', ')}`;
}

/** Ray's own rules: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token; only where RAY_AUTH_MODE is token. */
function authToken(environment: Readonly<Record<string, string | undefined>>): string | null {
  if (environment.RAY_AUTH_MODE?.toLowerCase() !== 'token') return null;
  if (environment.RAY_AUTH_TOKEN) return environment.RAY_AUTH_TOKEN;
  const path = environment.RAY_AUTH_TOKEN_PATH || join(homedir(), '.ray', 'auth_token');
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

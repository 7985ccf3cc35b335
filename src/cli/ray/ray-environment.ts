// The environment of every Ray process: the one place for these settings. Measured in docs/ray.md; names and defaults are those of
// ray/serve/_private/constants.py in the version that python/pyproject.toml pins.

import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface RayEnvironmentOptions {
  /** The environment to start from; what it says of a setting that is not essential stays. */
  readonly inherited: Readonly<Record<string, string | undefined>>;
  /** So long a replica that goes down lets its streams go on, in seconds. */
  readonly drainSeconds: number;
  /** Longest stream in seconds. */
  readonly maxStreamSeconds: number;
}

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** The folder to be on Python's path for `whisper_serve` to be found. */
export const PYTHON_FOLDER = fromRoot('python');
/** What the replicas run in Node. */
export const LAUNCHER = fromRoot('dist/cli/launch.cjs');

/** From a stop of a replica to the last close frame beyond drainSeconds: it is noticed after silent health checks, then finals are awaited. */
const DRAIN_MARGIN_SECONDS = 40;
const HARD_STOP_MARGIN_SECONDS = 300;

/** Of this process they mean the front door; the children would take them for theirs. RAY_ADDRESS would make `ray start` refuse. */
const NOT_INHERITED = ['WHISPER_HOST', 'WHISPER_PORT', 'RAY_ADDRESS', 'PYTHONHOME', 'VIRTUAL_ENV'];

export function rayEnvironment(options: RayEnvironmentOptions): Record<string, string> {
  const { drainSeconds, inherited, maxStreamSeconds } = options;
  const essential = {
    // HAProxy before the replicas, and no second thread or pickled copy on the way: 500 streams where Python's proxy carries 100
    RAY_SERVE_ENABLE_HA_PROXY: '1',
    RAY_SERVE_THROUGHPUT_OPTIMIZED: '1',
    // every change of the replicas reloads HAProxy; its old process keeps the open streams so long, and then cuts them
    RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S: String(maxStreamSeconds + HARD_STOP_MARGIN_SECONDS),
    // a replica that goes down stays reachable so long, then Serve closes what is open with 1012
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S: String(drainSeconds + DRAIN_MARGIN_SECONDS),
  };
  const preferred = {
    // the mode above turns it off
    RAY_SERVE_LOG_TO_STDERR: '1',
    RAY_USAGE_STATS_ENABLED: '0',
    // without a say, Ray asks for tokens as soon as it finds one in the user's folder
    RAY_AUTH_MODE: 'disabled',
  };
  const kept = Object.fromEntries(
    Object.entries(inherited).filter((entry): entry is [string, string] => entry[1] !== undefined && !NOT_INHERITED.includes(entry[0])),
  );
  return { ...preferred, ...kept, ...essential, ...applicationEnvironment(inherited) };
}

/** Options of the children that no argument of an application stands for (see environment-args.ts), and nothing secret: whoever sees the dashboard reads them. */
const PASSED_ON = ['WHISPER_MAX_CONTAINER_STREAMS', 'WHISPER_SHUTDOWN_SECONDS', 'UV_THREADPOOL_SIZE', 'ORT_ENABLE_CUDNN_FLASH_ATTENTION'];

/** What makes Ray's workers find `whisper_serve`, and options; also given with an application, for a Ray that somebody else started. */
export function applicationEnvironment(inherited: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const passed = PASSED_ON.flatMap((name) => (inherited[name] ? [[name, inherited[name]]] : []));
  return {
    ...Object.fromEntries(passed),
    PYTHONPATH: inherited.PYTHONPATH ? `${PYTHON_FOLDER}${delimiter}${inherited.PYTHONPATH}` : PYTHON_FOLDER,
  };
}

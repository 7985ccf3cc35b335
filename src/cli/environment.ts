// What the process environment says about models and threads: the one place that reads those variables.

import envPaths from 'env-paths';
import type { LocateOptions } from '../model/locate.ts';

type Variables = Readonly<Record<string, string | undefined>>;

/** libuv's own size and limit. */
const [DEFAULT_POOL_THREADS, MAX_POOL_THREADS] = [4, 1024];
/** Of the pool, for files, DNS and compression. */
const THREADS_KEPT_FREE = 4;

/** Streams of container audio that may wait for bytes at once: each holds a thread of libuv's pool (launch.cts sets its size). */
export function maxContainerStreams(variables: Variables = process.env): number {
  const size = Number(variables.UV_THREADPOOL_SIZE || DEFAULT_POOL_THREADS);
  const threads = Number.isInteger(size) ? Math.min(size, MAX_POOL_THREADS) : 1;
  return Math.max(1, threads - THREADS_KEPT_FREE);
}

/**
 * Removes variables that say "not set", as container files like to pass them: every WHISPER_* that is empty, and of the flags also
 * those with 0 or false, for the option parser takes any value of a flag as set.
 */
export function removeUnset(variables: Record<string, string | undefined>, flags: readonly string[]): void {
  for (const [name, value] of Object.entries(variables)) {
    if (!name.startsWith('WHISPER_')) continue;
    if (value === '' || (flags.includes(name) && /^(0|false|no|off)$/i.test(value ?? ''))) delete variables[name];
  }
}

/** Where models and graphs are kept if neither a flag nor WHISPER_CACHE says it. */
export function defaultCacheDir(): string {
  return envPaths('whisper-streaming', { suffix: '' }).cache;
}

/**
 * Access to the hub and to pip, under the names that Hugging Face's own tools use: HUGGING_FACE_HUB_TOKEN or HF_TOKEN,
 * HF_ENDPOINT, HF_HUB_OFFLINE; and HTTP_PROXY, HTTPS_PROXY, NO_PROXY in either case. pip reads its own variables.
 */
export function modelAccess(variables: Variables = process.env): Pick<LocateOptions, 'hub' | 'pip'> {
  const { HF_ENDPOINT: endpoint, HF_HUB_OFFLINE: offline } = variables;
  const token = variables.HUGGING_FACE_HUB_TOKEN || variables.HF_TOKEN;
  const proxy = (name: string): string | undefined => variables[name.toLowerCase()] || variables[name];
  const [http, https, except] = [proxy('HTTP_PROXY'), proxy('HTTPS_PROXY'), proxy('NO_PROXY')];
  return {
    hub: {
      ...(endpoint && { endpoint }),
      ...(token && { token }),
      offline: /^(1|true|yes|on)$/i.test(offline ?? ''),
      proxy: { ...(http && { http }), ...(https && { https }), ...(except && { except }) },
    },
    pip: { environment: variables },
  };
}

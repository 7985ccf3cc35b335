// What the process environment says about models: the one place that reads those variables.

import envPaths from 'env-paths';
import type { LocateOptions } from '../model/locate.ts';

type Variables = Readonly<Record<string, string | undefined>>;

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

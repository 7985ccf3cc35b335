// Models from the Hugging Face hub: lists a repository's files with their hashes at one commit, then downloads what a model needs.
//
// Two requests of the hub's HTTP interface are all that is needed, so there is no client library: @huggingface/hub does not
// resume a file and brings its own storage layer of WebAssembly.

import { mkdir } from 'node:fs/promises';
import { EnvHttpProxyAgent, fetch } from 'undici';
import { WhisperError } from '../core/errors.ts';
import { downloadFile, reasonOf } from './download.ts';
import type { ExpectedFile, ExpectedHash, Reporting, VerifiedFile } from './model-source.ts';

export interface HubOptions {
  /** @default 'https://huggingface.co' */
  readonly endpoint?: string;
  /** Access token, for private and gated repositories. */
  readonly token?: string;
  /** Never contact the hub. @default false */
  readonly offline?: boolean;
  /** Branch, tag or commit. @default 'main' */
  readonly revision?: string;
  /** @default 3000 */
  readonly connectTimeoutMs?: number;
  /** The longest silence from a server that took the connection. @default 15000 */
  readonly idleTimeoutMs?: number;
  /** Proxies by the scheme of the hub's address, as HTTP_PROXY, HTTPS_PROXY and NO_PROXY say it. @default none */
  readonly proxy?: { readonly http?: string; readonly https?: string; readonly except?: string };
  /** Wait before a cut transfer is continued. @default 500 */
  readonly retryDelayMs?: number;
}

export const DEFAULT_HUB_ENDPOINT = 'https://huggingface.co';

/** What a model needs of a repository; of the weights, the first form that is there. */
const REQUIRED = ['config.json', 'tokenizer.json'];
const OPTIONAL = ['generation_config.json'];
const SHARD = /^model-\d+-of-\d+\.safetensors$/;

export interface HubModel {
  /** The commit that the files are of. */
  readonly revision: string;
  readonly files: readonly VerifiedFile[];
}

/**
 * Downloads a model's files into `dir`; whole files found there are kept, parts are continued.
 * Rejects with `model_not_found` (cannot be reached, no such repository, not allowed), `download_failed` or `model_corrupt`.
 */
export async function downloadFromHub(repository: string, dir: string, options: HubOptions & Reporting): Promise<HubModel> {
  if (options.offline) throw new WhisperError('model_not_found', 'the hub is switched off (offline)');
  const endpoint = (options.endpoint ?? DEFAULT_HUB_ENDPOINT).replace(/\/+$/, '');
  const idleTimeoutMs = options.idleTimeoutMs ?? 15_000;
  const dispatcher = new EnvHttpProxyAgent({
    connect: { timeout: options.connectTimeoutMs ?? 3000 },
    headersTimeout: idleTimeoutMs,
    bodyTimeout: idleTimeoutMs,
    // an empty string keeps the library from reading the environment itself
    httpProxy: options.proxy?.http ?? '',
    httpsProxy: options.proxy?.https ?? '',
    noProxy: options.proxy?.except ?? '',
  });
  const headers: Record<string, string> = options.token ? { authorization: `Bearer ${options.token}` } : {};
  try {
    const listing = await listFiles(
      `${endpoint}/api/models/${repository}/revision/${encodeURIComponent(options.revision ?? 'main')}?blobs=true`,
      headers,
      dispatcher,
      options.signal,
    );
    const files: VerifiedFile[] = [];
    await mkdir(dir, { recursive: true });
    for (const file of chooseFiles(repository, listing.files)) {
      const url = `${endpoint}/${repository}/resolve/${listing.revision}/${file.name}`;
      files.push(await downloadFile(file, dir, { ...options, url, headers, dispatcher }));
    }
    return { revision: listing.revision, files };
  } finally {
    await dispatcher.destroy();
  }
}

async function listFiles(
  url: string,
  headers: Readonly<Record<string, string>>,
  dispatcher: EnvHttpProxyAgent,
  signal: AbortSignal | undefined,
): Promise<{ revision: string; files: ExpectedFile[] }> {
  let body: unknown;
  try {
    const response = await fetch(url, { headers, dispatcher, signal: signal ?? null });
    if (response.status === 401 || response.status === 403) {
      const hint = headers.authorization
        ? 'the token does not open this repository'
        : 'no such repository, or one that needs a token (HUGGING_FACE_HUB_TOKEN)';
      throw new WhisperError('model_not_found', `HTTP ${response.status}: ${hint}`);
    }
    if (!response.ok)
      throw new WhisperError(
        'model_not_found',
        `HTTP ${response.status}${response.status === 404 ? ': no such repository or revision' : ''}`,
      );
    body = await response.json();
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof WhisperError) throw cause;
    throw new WhisperError('model_not_found', `cannot be reached (${reasonOf(cause)})`, { cause });
  }
  const { sha, siblings } = (body ?? {}) as { sha?: unknown; siblings?: unknown };
  if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha) || !Array.isArray(siblings)) {
    throw new WhisperError('download_failed', `${url}: the answer is not a repository's list of files`);
  }
  return { revision: sha, files: siblings.flatMap((sibling) => expectedFile(sibling) ?? []) };
}

/** Large files carry their SHA-256 (git LFS), small ones git's own hash. Files without either are not usable. */
function expectedFile(sibling: unknown): ExpectedFile | undefined {
  const { rfilename: name, size, blobId, lfs } = (sibling ?? {}) as Record<string, unknown>;
  const sha256 = (lfs as { sha256?: unknown } | null | undefined)?.sha256;
  if (typeof name !== 'string' || !Number.isSafeInteger(size) || (size as number) < 0) return undefined;
  let hash: ExpectedHash | undefined;
  if (typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256)) hash = { kind: 'sha256', hex: sha256 };
  else if (!lfs && typeof blobId === 'string' && /^[0-9a-f]{40}$/.test(blobId)) hash = { kind: 'git-blob', hex: blobId };
  return hash === undefined ? undefined : { name, sizeBytes: size as number, hash };
}

function chooseFiles(repository: string, files: readonly ExpectedFile[]): ExpectedFile[] {
  const named = (name: string): ExpectedFile[] => files.filter((file) => file.name === name);
  const sharded = [...named('model.safetensors.index.json'), ...files.filter((file) => SHARD.test(file.name))];
  const weights = [named('model.safetensors'), sharded.length > 1 ? sharded : [], named('model.bin')].find((form) => form.length > 0);
  const missing = REQUIRED.filter((name) => named(name).length === 0);
  if (weights === undefined) missing.push('weights (model.safetensors or model.bin)');
  if (weights === undefined || missing.length > 0) {
    throw new WhisperError('model_not_found', `${repository} has no ${missing.join(', no ')} with a known hash`);
  }
  // small files first: a wrong repository is found out before the gigabytes
  return [...REQUIRED.flatMap(named), ...OPTIONAL.flatMap(named), ...weights];
}

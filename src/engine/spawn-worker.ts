// Starts one of this folder's worker files on its own thread, from TypeScript sources (tsx) and from compiled files alike.

import { Worker } from 'node:worker_threads';

/** `.ts` when this file runs from its source, `.js` when it was compiled. */
const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

/**
 * @param name the worker file beside this one, without its extension, for instance `speech-detector-worker`
 * @param workerData structured-cloned into the worker
 * @param transferList buffers inside `workerData` to move instead of copying
 */
export function spawnWorker(name: string, workerData: unknown, transferList: readonly ArrayBuffer[] = []): Worker {
  const file = new URL(`./${name}${extension}`, import.meta.url);
  // execArgv stays unset: the worker inherits it, while a copy of process.execArgv is refused as soon as it holds a
  // process-wide flag such as --expose-gc.
  return new Worker(extension === '.ts' ? throughTsx(file) : file, { name, workerData, transferList: [...transferList] });
}

/** Node 20 does not pass the module hooks of `--import tsx` on to workers, so the worker registers them itself first. */
function throughTsx(file: URL): URL {
  const source = `import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))};
register();
await import(${JSON.stringify(file.href)});`;
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}

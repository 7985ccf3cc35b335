// Recorded speech for tests: fetched once from PyPI, checked, and unpacked into .cache/. Short clips in nine languages with their text.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const PACKAGE = 'pytest-audioeval==0.1.3';
const WHEEL_SHA256 = '8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc';
const SAMPLES = ['pytest_audioeval', 'samples', 'audio'] as const;
const PIP_TIMEOUT_MS = 10 * 60_000;

const cacheFolder = fileURLToPath(new URL('../.cache/test-audio', import.meta.url));
const clipsFolder = join(cacheFolder, PACKAGE.replace('==', '-'));
const execute = promisify(execFile);

/** One recorded sentence. */
export interface TestClip {
  /** For instance `en/counting`. */
  readonly name: string;
  /** ISO 639-1. */
  readonly language: string;
  /** Absolute path of a mono WAV file. */
  readonly file: string;
  /** What is said, with its punctuation. */
  readonly text: string;
}

/** Downloads and unpacks beside the final folder, then renames: test processes that start together all end with one whole folder. */
async function fetchClips(signal?: AbortSignal): Promise<void> {
  await mkdir(cacheFolder, { recursive: true });
  const work = await mkdtemp(join(cacheFolder, 'fetch-'));
  try {
    const options = signal === undefined ? { timeout: PIP_TIMEOUT_MS } : { timeout: PIP_TIMEOUT_MS, signal };
    await execute('python3', ['-m', 'pip', 'download', '--quiet', '--no-deps', '--no-cache-dir', '-d', work, PACKAGE], options);
    const wheel = (await readdir(work)).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new Error(`pip downloaded no wheel of ${PACKAGE}`);
    const hash = createHash('sha256')
      .update(await readFile(join(work, wheel)))
      .digest('hex');
    if (hash !== WHEEL_SHA256) throw new Error(`${wheel} has SHA-256 ${hash}, expected ${WHEEL_SHA256}`);
    await execute('python3', ['-m', 'zipfile', '-e', join(work, wheel), join(work, 'unpacked')], options);
    await rename(join(work, 'unpacked', ...SAMPLES), clipsFolder).catch((error: unknown) => {
      // Another process came first: its folder is whole, for it too arrived by a rename.
      if (!existsSync(clipsFolder)) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** All clips, by name. The first call on a machine needs python3 with pip and reaches PyPI. */
export async function testClips(signal?: AbortSignal): Promise<TestClip[]> {
  if (!existsSync(clipsFolder)) await fetchClips(signal);
  const clips: TestClip[] = [];
  for (const language of (await readdir(clipsFolder)).sort()) {
    for (const entry of (await readdir(join(clipsFolder, language))).sort()) {
      if (!entry.endsWith('.wav')) continue;
      const stem = entry.slice(0, -'.wav'.length);
      const text = (await readFile(join(clipsFolder, language, `${stem}.txt`), 'utf8')).trim();
      clips.push({ name: `${language}/${stem}`, language, file: join(clipsFolder, language, entry), text });
    }
  }
  return clips;
}

/** One clip by its name. */
export async function testClip(name: string, signal?: AbortSignal): Promise<TestClip> {
  const clips = await testClips(signal);
  const clip = clips.find((candidate) => candidate.name === name);
  if (clip === undefined) throw new Error(`no clip ${name}; there are ${clips.map((candidate) => candidate.name).join(', ')}`);
  return clip;
}

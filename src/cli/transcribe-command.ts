// `transcribe FILE…`: files to text, JSON or subtitles, on standard output or into a folder.

import { createReadStream } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { decodeContainer } from '../audio/container.ts';
import { toWhisperError, WhisperError } from '../core/errors.ts';
import type { Task } from '../engine/transcriber.ts';
import type { Transcript } from '../protocol/rest.ts';
import { formatSrt, formatText, formatVtt } from '../protocol/subtitles.ts';
import { checkModelOptions } from '../server/model-options.ts';
import { transcribeAudio } from '../streaming/file.ts';
import { type LoadedEngine, loadEngine } from './load-engine.ts';
import type { ModelOptions } from './options.ts';
import type { ProgressDisplay } from './progress.ts';

export interface TranscribeCommandOptions extends ModelOptions {
  readonly format: 'txt' | 'json' | 'srt' | 'vtt';
  readonly language?: string;
  readonly task: Task;
  readonly prompt: string;
  readonly wordTimestamps: boolean;
  readonly outputDir?: string;
}

const FORMATTERS: Readonly<Record<TranscribeCommandOptions['format'], (transcript: Transcript) => string>> = {
  txt: formatText,
  json: (transcript) => `${JSON.stringify(transcript, null, 2)}\n`,
  srt: formatSrt,
  vtt: formatVtt,
};

const STDIN = '-';

/** Transcribes one file after the other; one that fails is reported, and the rest goes on. True where all went well. */
export async function transcribeFiles(
  files: readonly string[],
  options: TranscribeCommandOptions,
  progress: ProgressDisplay,
  signal: AbortSignal,
): Promise<boolean> {
  const { language = null, outputDir, task } = options;
  const engine = await loadEngine(options, progress, signal);
  let allDone = true;
  try {
    checkModelOptions(engine.transcriber.info, { language, task }, 'invalid_parameter');
    if (outputDir !== undefined) await mkdir(outputDir, { recursive: true });
    for (const file of files) {
      try {
        const text = FORMATTERS[options.format](await transcribeFile(file, engine, options, progress, signal));
        progress.stop();
        if (outputDir === undefined) process.stdout.write(text);
        else await writeWhole(join(outputDir, `${basename(file === STDIN ? 'stdin' : file, extname(file))}.${options.format}`), text);
      } catch (error) {
        signal.throwIfAborted();
        allDone = false;
        progress.stop();
        console.error(`error: ${file}: ${describe(error)}`);
      }
    }
  } finally {
    await engine.close();
  }
  return allDone;
}

async function transcribeFile(
  file: string,
  engine: LoadedEngine,
  options: TranscribeCommandOptions,
  progress: ProgressDisplay,
  signal: AbortSignal,
): Promise<Transcript> {
  const { language = null, prompt, task, wordTimestamps } = options;
  let totalSeconds: number | undefined;
  const onDuration = (seconds: number): void => {
    totalSeconds = seconds;
  };
  const pcm = decodeContainer(file === STDIN ? process.stdin : createReadStream(file), { signal, onDuration });
  const shown = file === STDIN ? 'standard input' : basename(file);
  const onProgress = (doneSeconds: number): void => progress.audio(shown, doneSeconds, totalSeconds);
  return transcribeAudio(engine, pcm, { language, task, prompt, wordTimestamps, signal, onProgress });
}

/** A killed process leaves no half transcript under the name of a whole one. */
async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.partial`, text);
  await rename(`${path}.partial`, path);
}

function describe(error: unknown): string {
  if (error instanceof Error && 'syscall' in error) return error.message;
  const { cause, code, message } = toWhisperError(error);
  return code === 'internal' && !(error instanceof WhisperError) && cause instanceof Error ? `${message} ${cause.message}` : message;
}

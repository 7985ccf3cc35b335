// A Chromium for the browser tests: the one named by CHROMIUM_PATH, one that is installed, the npm package's, or Debian's as a last resort.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];
const FIXED_PATHS = [
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

/** The npm package unpacks itself into the temporary folder; this is where its binary is kept instead. */
const packagedFolder = fileURLToPath(new URL('../.cache/chromium-141.0.0-libraries', import.meta.url));
/** Network security libraries that a small machine lacks; used only where the binary does not start without. */
const packagedLibraries = join(packagedFolder, 'al2023', 'lib');
const cacheFolder = fileURLToPath(new URL('../.cache', import.meta.url));
const UNPACK_TIMEOUT_MS = 2 * 60_000;
const INSTALL_TIMEOUT_MS = 10 * 60_000;

/** Flags for a browser that runs as root, in a container, without a network, and hears a file instead of a microphone. */
export interface ChromiumLaunch {
  readonly executablePath: string;
  readonly args: string[];
  readonly env: Record<string, string>;
}

export interface ChromiumOptions {
  /** WAV file that the fake microphone plays, over and over. Without it the microphone beeps. */
  readonly microphoneFile?: string;
  /** Where to look, in order. @default ['environment', 'installed', 'package', 'debian'] */
  readonly sources?: ReadonlyArray<keyof typeof SOURCES>;
}

type Found = Pick<ChromiumLaunch, 'executablePath' | 'env'>;

/** Whether the file is there and starts; a package's binary may lack a system library. */
async function starts({ executablePath, env }: Found, signal?: AbortSignal): Promise<boolean> {
  if (!existsSync(executablePath)) return false;
  const options = { timeout: 60_000, env, ...(signal === undefined ? {} : { signal }) };
  return execute(executablePath, ['--version', '--no-sandbox'], options).then(
    () => true,
    () => false,
  );
}

async function firstThatStarts(candidates: readonly Found[], signal?: AbortSignal): Promise<Found | null> {
  for (const found of candidates) if (await starts(found, signal)) return found;
  return null;
}

const asInstalled = (executablePath: string): Found => ({ executablePath, env: { ...process.env } as Record<string, string> });

async function unpackPackage(signal?: AbortSignal): Promise<Found | null> {
  const plain = asInstalled(join(packagedFolder, 'chromium'));
  const candidates = [plain, { ...plain, env: { ...plain.env, LD_LIBRARY_PATH: packagedLibraries } }];
  const unpacked = await firstThatStarts(candidates, signal);
  if (unpacked !== null) return unpacked;
  await mkdir(cacheFolder, { recursive: true });
  const work = await mkdtemp(join(cacheFolder, 'chromium-'));
  const source = "const { default: chromium } = await import('@sparticuz/chromium'); await chromium.executablePath();";
  // In a process of its own, for TMPDIR is where the package unpacks to; a rename then makes the folder appear whole. The package
  // unpacks its libraries only where it believes to be in a cloud function.
  await execute(process.execPath, ['--input-type=module', '-e', source], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { ...process.env, TMPDIR: work, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs22.x' },
    timeout: UNPACK_TIMEOUT_MS,
    ...(signal === undefined ? {} : { signal }),
  });
  await rename(work, packagedFolder).catch(() => rm(work, { recursive: true, force: true }));
  return firstThatStarts(candidates, signal);
}

async function installFromDebian(signal?: AbortSignal): Promise<Found | null> {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return null;
  const options = {
    timeout: INSTALL_TIMEOUT_MS,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    maxBuffer: 2 ** 26,
    ...(signal === undefined ? {} : { signal }),
  };
  await execute('apt-get', ['update'], options);
  await execute('apt-get', ['install', '-y', '--no-install-recommends', 'chromium'], options);
  return firstThatStarts([asInstalled('/usr/bin/chromium')], signal);
}

const SOURCES = {
  environment: async (): Promise<Found | null> => (process.env.CHROMIUM_PATH ? asInstalled(process.env.CHROMIUM_PATH) : null),
  installed: (signal?: AbortSignal): Promise<Found | null> => {
    const folders = (process.env.PATH ?? '').split(delimiter);
    const paths = [...folders.flatMap((folder) => NAMES.map((name) => join(folder, name))), ...FIXED_PATHS];
    return firstThatStarts(paths.map(asInstalled), signal);
  },
  package: unpackPackage,
  debian: installFromDebian,
} as const;

/** Options for playwright-core's `chromium.launch`. Rejects, saying what was tried, where no browser starts. */
export async function findChromium(options: ChromiumOptions = {}, signal?: AbortSignal): Promise<ChromiumLaunch> {
  const sources = options.sources ?? ['environment', 'installed', 'package', 'debian'];
  const failures: string[] = [];
  for (const source of sources) {
    try {
      const found = await SOURCES[source](signal);
      if (found !== null) return { ...found, args: launchArguments(options.microphoneFile) };
      failures.push(`${source}: none`);
    } catch (error) {
      failures.push(`${source}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
  }
  throw new Error(`no Chromium to test with (${failures.join('; ')}); install one or set CHROMIUM_PATH`);
}

function launchArguments(microphoneFile: string | undefined): string[] {
  return [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    '--autoplay-policy=no-user-gesture-required',
    ...(microphoneFile === undefined ? [] : [`--use-file-for-fake-audio-capture=${microphoneFile}`]),
  ];
}

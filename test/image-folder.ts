// Does what the Dockerfile says in a folder that stands for the image's root, without a container engine: copies, runs the steps, starts.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { constants, existsSync } from 'node:fs';
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, realpath, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { defaultCacheDir } from '../src/cli/environment.ts';
import { environmentOf, parseDockerfile, type Stage, type Step } from './dockerfile.ts';

const projectRoot = fileURLToPath(new URL('..', import.meta.url));
const execute = promisify(execFile);
const STEP_TIMEOUT_MS = 6 * 60_000;
const OPEN_TO_ALL = 0o1777;

type Variables = Readonly<Record<string, string>>;

/** Steps that change the system itself are not for a test; dockerfile.test.ts looks at them. */
const SYSTEM_STEP = /^apt-get /;

/** Where the scripts look, by the variables that override it. */
const PATHS: Variables = { APP: '/app', VENV: '/opt/venv', LICENSES: '/licenses', WHISPER_CACHE: '/var/cache/whisper-streaming' };

/** Of the Dockerfile's USER; a process without rights is and owns what it is. */
const user = process.getuid?.() === 0 ? { uid: 1000, gid: 1000 } : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

export class ImageFolder {
  /** Stands for the root of every stage: what one leaves there, the next has without a copy. Only /build is not shared by all. */
  readonly root: string;
  readonly #stages: readonly Stage[];
  readonly #args: Variables;

  private constructor(root: string, stages: readonly Stage[], args: Variables) {
    this.root = root;
    this.#stages = stages;
    this.#args = args;
  }

  /** With the Node.js that the Dockerfile names and nothing else. `args` are build arguments. */
  static async create(args: Variables): Promise<ImageFolder> {
    const source = await readFile(join(projectRoot, 'Dockerfile'), 'utf8');
    // with a link on the way there one path would have two names
    const root = await realpath(await mkdtemp(join(tmpdir(), 'image-')));
    const image = new ImageFolder(root, parseDockerfile(source), args);
    // the image's user is to get in
    await chmod(root, 0o755);
    await mkdir(image.path('/tmp'));
    await chmod(image.path('/tmp'), OPEN_TO_ALL);
    await mkdir(image.path('/usr/local/bin'), { recursive: true });
    const version = /^ARG NODE_IMAGE=node:([\d.]+)-/m.exec(source)?.[1] ?? '';
    await copyFile(await nodeBinary(version), image.path('/usr/local/bin/node'), constants.COPYFILE_FICLONE);
    return image;
  }

  /** Where a path of the image is. */
  path(inImage: string): string {
    return join(this.root, inImage);
  }

  /** Copies and runs what the stage says, in its order. Rejects with what a step wrote where it fails. */
  async build(name: string): Promise<void> {
    const work = this.#workFolder(name);
    await mkdir(work, { recursive: true });
    for (const step of this.#stage(name).steps) {
      if (step.instruction === 'COPY') await this.#copy(step, work);
      if (step.instruction !== 'RUN' || SYSTEM_STEP.test(step.text)) continue;
      // bound for the time of the step, and gone with it
      const [, bound] = /type=bind,source=([\w/]+)/.exec(step.flags.mount ?? '') ?? [];
      if (bound !== undefined) await copyFromProject(bound, join(work, bound));
      await this.run(name, step.text.replace('/build/', ''));
    }
  }

  /** Runs one command in the stage; resolves with what it wrote. */
  async run(stage: string, command: string, environment: Variables = {}): Promise<string> {
    const paths = Object.fromEntries(Object.entries(PATHS).map(([name, path]) => [name, this.path(path)]));
    // a builder has mirrors, proxies and caches of packages; it has no test runner
    const { NODE_TEST_CONTEXT: _runner, ...inherited } = process.env;
    const owner = { SYSTEM_ROOT: this.root, USER_ID: String(user.uid), GROUP_ID: String(user.gid) };
    const env = { ...inherited, ...this.#args, ...this.environment(stage), ...paths, ...owner, ...environment };
    const options = { cwd: this.#workFolder(stage), env, maxBuffer: 2 ** 26, timeout: STEP_TIMEOUT_MS };
    const { stdout, stderr } = await execute('bash', ['-c', command], options).catch((error: { stdout: string; stderr: string }) => {
      throw new Error(`${command}:\n${error.stdout}${error.stderr}`, { cause: error });
    });
    return stdout + stderr;
  }

  /** What a container of the stage has in its environment; behind its own programs, this machine's for what Debian has. */
  environment(stage: string): Record<string, string> {
    const declared = Object.entries(environmentOf(this.#stage(stage), this.#args));
    const mapped = declared.map(([name, value]) => [name, value.startsWith('/') ? this.path(value) : value]);
    const own = ['/opt/venv/bin', '/usr/local/bin'].map((folder) => this.path(folder));
    return { ...Object.fromEntries(mapped), PATH: [...own, process.env.PATH, '/usr/sbin', '/sbin'].join(delimiter) };
  }

  /** Starts what a container of the stage starts, as the image's user, with nothing of this process's environment. */
  start(stage: string, environment: Variables): ChildProcess {
    const [program = '', ...args] = this.#command(stage, 'CMD');
    const env = { ...this.environment(stage), HOME: this.path('/home/ray'), TMPDIR: this.path('/tmp'), ...environment };
    return spawn(program, args, { cwd: this.path('/home/ray'), env, stdio: ['ignore', 'pipe', 'pipe'], ...user });
  }

  /** What the stage's health check finds. */
  async isHealthy(stage: string, environment: Variables): Promise<boolean> {
    const [program = '', ...args] = this.#command(stage, 'HEALTHCHECK');
    return execute(program, args, { env: { ...this.environment(stage), ...environment } }).then(
      () => true,
      () => false,
    );
  }

  async remove(): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }

  #stage(name: string): Stage {
    const stage = this.#stages.find((candidate) => candidate.name === name);
    if (stage === undefined) throw new Error(`the Dockerfile has no stage ${name}`);
    return stage;
  }

  /** Stages that stand on each other share theirs. */
  #workFolder(stage: string): string {
    const base = this.#stages.find(({ name }) => name === this.#stage(stage).base);
    // the first of all is a bare image
    return base === undefined || base.steps.length === 0 ? this.path(`/build-${stage}`) : this.#workFolder(base.name);
  }

  #command(stage: string, instruction: string): string[] {
    const text = this.#stage(stage).steps.find((step) => step.instruction === instruction)?.text ?? '';
    const words = JSON.parse(text.slice(text.indexOf('['))) as string[];
    return words.map((word) => (word.startsWith('/') ? this.path(word) : word));
  }

  async #copy({ flags, text }: Step, work: string): Promise<void> {
    const words = text.split(' ');
    const target = words.pop() ?? '';
    for (const source of words) {
      if (flags.from === undefined) {
        await copyFromProject(source, target.endsWith('/') ? join(work, target, basename(source)) : join(work, target));
        continue;
      }
      if (!existsSync(this.path(source))) throw new Error(`the stage ${flags.from} has left no ${source}`);
      if (source !== target) await cp(this.path(source), this.path(target), { recursive: true });
      if (flags.chown !== undefined) await execute('chown', ['-R', `${user.uid}:${user.gid}`, this.path(target)]);
    }
  }
}

/** Without what .dockerignore keeps back below the things that it lets through. */
async function copyFromProject(source: string, target: string): Promise<void> {
  const filter = (path: string): boolean => !path.endsWith('.test.ts') && !path.endsWith('__pycache__');
  await mkdir(dirname(target), { recursive: true });
  await cp(join(projectRoot, source), target, { recursive: true, filter });
}

/** Node.js of that version, from its npm package, kept in the cache folder. */
async function nodeBinary(version: string): Promise<string> {
  const cache = process.env.WHISPER_CACHE || defaultCacheDir();
  const folder = join(cache, `node-${version}`);
  if (!existsSync(folder)) {
    await mkdir(cache, { recursive: true });
    const work = await mkdtemp(join(cache, 'node-'));
    const { stdout } = await execute('npm', ['pack', '--silent', `node-${process.platform}-${process.arch}@${version}`], { cwd: work });
    await execute('tar', ['-xzf', stdout.trim(), 'package/bin/node'], { cwd: work });
    // whole, or not there; another test run may have been first
    await rename(join(work, 'package'), folder).catch(() => undefined);
    await rm(work, { recursive: true, force: true });
  }
  return join(folder, 'bin', 'node');
}

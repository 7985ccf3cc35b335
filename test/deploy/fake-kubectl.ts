// A kubectl for tests of scripts/deploy.sh: it answers as it is told, hands Kustomize's work to the real one, and keeps what it was given.

import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kubectl } from '../kubectl.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/deploy.sh', import.meta.url));

export interface FakeCluster {
  /** @default 5 */
  readonly kustomize?: number;
  /** Contexts of the kubeconfig; the first is the current one. @default ['here'] */
  readonly contexts?: readonly string[];
  /** @default true */
  readonly answers?: boolean;
  /** @default true */
  readonly hasCrd?: boolean;
  /** @default ['whisper-streaming'] */
  readonly namespaces?: readonly string[];
  /** Whether `apply` succeeds. @default true */
  readonly accepts?: boolean;
  /** Whether the pods of a deleted service end in time. @default true */
  readonly podsEnd?: boolean;
  /** What the RayService says, poll by poll; the last one stays. @default ready at once */
  readonly statuses?: readonly string[];
}

/** In the order of deploy.sh's question: generations, Ready, UpgradeInProgress, endpoints, applications. */
export const READY = '1|1|True|False|2|RUNNING|';

export interface Call {
  readonly arguments: readonly string[];
  readonly input: string;
  readonly environment: string;
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly calls: readonly Call[];
  /** Documents that were applied, as texts. */
  readonly applied: readonly string[];
}

const PROGRAM = `#!/usr/bin/env bash
state=$FAKE_KUBECTL
number=$(($(cat "$state/number" 2>/dev/null || echo 100) + 1)); echo $number >"$state/number"
call=$state/calls/$number; mkdir -p "$call"
printf '%s\\0' "$@" >"$call/arguments"; env >"$call/environment"
for argument in "$@"; do
  [[ $argument != - ]] || cat >"$call/input"
  [[ ! -f $argument || $argument != */manifests ]] || cp "$argument" "$call/input"
done
[[ $1 != --context ]] || { context=$2; shift 2; }
case "$*" in
  'version --client -o json') printf '{\\n  "kustomizeVersion": "v%s.1.0"\\n}\\n' "$(cat "$state/kustomize")" ;;
  kustomize*) exec "$REAL_KUBECTL" "$@" ;;
  'config current-context') head -n 1 "$state/contexts" | grep . ;;
  'config get-contexts '*) grep -qx "$3" "$state/contexts" ;;
  'get --raw /version'*) [[ -e $state/answers ]] ;;
  'get crd rayservices.ray.io'*) [[ -e $state/crd ]] ;;
  'get namespace '*) grep -qx "$3" "$state/namespaces" ;;
  'get rayservice '*) head -n 1 "$state/statuses"; [[ $(wc -l <"$state/statuses") == 1 ]] || { tail -n +2 "$state/statuses" >"$state/rest"; mv "$state/rest" "$state/statuses"; } ;;
  apply*) [[ -e $state/accepts ]] || { echo 'error: refused' >&2; exit 1; } ;;
  delete*) ;;
  wait*) [[ -e $state/gone ]] ;;
  *) echo "not known to the fake: $*" >&2; exit 1 ;;
esac
`;

/** Runs scripts/deploy.sh with this cluster before it. */
export async function runDeploy(
  args: readonly string[],
  cluster: FakeCluster = {},
  variables: Record<string, string> = {},
): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'fake-kubectl-'));
  try {
    await mkdir(join(folder, 'calls'));
    await writeFile(join(folder, 'kubectl'), PROGRAM);
    await chmod(join(folder, 'kubectl'), 0o755);
    const lines = (values: readonly string[]): string => values.map((value) => `${value}\n`).join('');
    await writeFile(join(folder, 'kustomize'), String(cluster.kustomize ?? 5));
    await writeFile(join(folder, 'contexts'), lines(cluster.contexts ?? ['here']));
    await writeFile(join(folder, 'namespaces'), lines(cluster.namespaces ?? ['whisper-streaming']));
    await writeFile(join(folder, 'statuses'), lines(cluster.statuses ?? [READY]));
    for (const [name, isThere] of [
      ['answers', cluster.answers],
      ['crd', cluster.hasCrd],
      ['accepts', cluster.accepts],
      ['gone', cluster.podsEnd],
    ] as const) {
      if (isThere ?? true) await writeFile(join(folder, name), '');
    }
    const { HUGGING_FACE_HUB_TOKEN: _theirs, ...inherited } = process.env;
    const environment = {
      ...inherited,
      PATH: `${folder}${delimiter}${process.env.PATH}`,
      FAKE_KUBECTL: folder,
      REAL_KUBECTL: await realKubectl(),
      WHISPER_DEPLOY_POLL_SECONDS: '0',
      ...variables,
    };
    const outcome = await new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      execFile('bash', [SCRIPT, ...args], { env: environment, maxBuffer: 2 ** 24 }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      );
    });
    const calls = await readCalls(join(folder, 'calls'));
    const applied = calls.filter((call) => call.arguments.includes('apply')).map(({ input }) => input);
    return { ...outcome, calls, applied };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** By its path: on the PATH of the fake there is another one first. */
async function realKubectl(): Promise<string> {
  const program = await kubectl();
  if (program !== 'kubectl') return program;
  return new Promise((resolve, reject) => {
    execFile('bash', ['-c', 'command -v kubectl'], (error, stdout) => (error === null ? resolve(stdout.trim()) : reject(error)));
  });
}

async function readCalls(folder: string): Promise<Call[]> {
  const read = (call: string, name: string): Promise<string> => readFile(join(folder, call, name), 'utf8').catch(() => '');
  return Promise.all(
    (await readdir(folder)).sort().map(async (call) => ({
      arguments: (await read(call, 'arguments')).split('\0').slice(0, -1),
      input: await read(call, 'input'),
      environment: await read(call, 'environment'),
    })),
  );
}

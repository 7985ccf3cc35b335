// The manifests of deploy/ for tests: put together by Kustomize, checked by the real schemas, looked into.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { defaultCacheDir } from '../../src/cli/environment.ts';
import { ensureVirtualEnvironment } from '../../src/cli/python.ts';
import { kubectl } from '../kubectl.ts';

const execute = promisify(execFile);

export const DEPLOY_FOLDER = fileURLToPath(new URL('../../deploy', import.meta.url));
const VALIDATE = fileURLToPath(new URL('validate.py', import.meta.url));
/** Schemas of every version of Kubernetes, 150 MB unpacked. */
const REQUIREMENTS = ['kubernetes-validate==1.37.0', 'jsonschema==4.26.0'];
const MAX_OUTPUT_BYTES = 16 * 2 ** 20;

export interface Labelled {
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Labelled & { readonly name: string; readonly namespace?: string };
  /** As the schemas have it. */
  readonly spec?: any;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly env?: ReadonlyArray<{
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { secretKeyRef?: { optional?: boolean } };
  }>;
  readonly ports?: ReadonlyArray<{ readonly name: string; readonly containerPort: number }>;
  readonly resources: { readonly requests: Record<string, string>; readonly limits: Record<string, string> };
  readonly securityContext: unknown;
  readonly volumeMounts: ReadonlyArray<{ readonly name: string; readonly mountPath: string }>;
}

export interface PodTemplate {
  readonly metadata: Labelled;
  readonly spec: {
    readonly containers: readonly [Container];
    readonly initContainers?: readonly Container[];
    readonly volumes: ReadonlyArray<{ readonly name: string }>;
    readonly nodeSelector: Record<string, string>;
    readonly tolerations?: ReadonlyArray<{ readonly key: string; readonly operator: string; readonly effect: string }>;
    readonly securityContext: unknown;
    readonly terminationGracePeriodSeconds: number;
    readonly topologySpreadConstraints?: ReadonlyArray<{ readonly labelSelector: { readonly matchLabels: Record<string, string> } }>;
    readonly automountServiceAccountToken?: boolean;
    readonly enableServiceLinks?: boolean;
  };
}

export interface PodGroup {
  readonly groupName: string;
  readonly minReplicas: number;
  readonly maxReplicas: number;
  /** Ray's. */
  readonly resources?: Readonly<Record<string, string>>;
  readonly rayStartParams: Readonly<Record<string, string>>;
  readonly template: PodTemplate;
}

/**
 * @param folder under deploy/, with a kustomization
 * @param program another kubectl
 */
export async function render(folder: string, program?: string): Promise<KubernetesObject[]> {
  return renderFolder(join(DEPLOY_FOLDER, folder), program);
}

/** An overlay with components, as a kustomization of somebody's own would have them. */
export async function renderWith(overlay: string, components: readonly string[]): Promise<KubernetesObject[]> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'kustomization-')));
  const path = (name: string): string => relative(folder, join(DEPLOY_FOLDER, name));
  try {
    await writeFile(join(folder, 'kustomization.yaml'), JSON.stringify({ resources: [path(overlay)], components: components.map(path) }));
    return await renderFolder(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function renderFolder(folder: string, program?: string): Promise<KubernetesObject[]> {
  const { stdout } = await execute(program ?? (await kubectl()), ['kustomize', folder], { maxBuffer: MAX_OUTPUT_BYTES });
  return parseObjects(stdout);
}

/** @param file under deploy/, with objects as they are */
export const readObjects = async (file: string): Promise<KubernetesObject[]> =>
  parseObjects(await readFile(join(DEPLOY_FOLDER, file), 'utf8'));

export const parseObjects = (text: string): KubernetesObject[] => parseAllDocuments(text, { merge: true }).map((one) => one.toJS());

/** What is wrong with the objects; nothing, if all is well. The first call takes half a minute, and PyPI. */
export async function validate(objects: readonly KubernetesObject[]): Promise<string[]> {
  const hash = createHash('sha256').update(REQUIREMENTS.join('\n')).digest('hex').slice(0, 8);
  const folder = join(process.env.WHISPER_CACHE || defaultCacheDir(), `kubernetes-validate-${hash}`);
  const python = await ensureVirtualEnvironment({ folder, requirements: REQUIREMENTS, minimumVersion: [3, 10] });
  const running = execute(python, ['-W', 'ignore', VALIDATE], { maxBuffer: MAX_OUTPUT_BYTES });
  running.child.stdin?.end(JSON.stringify(objects));
  return JSON.parse((await running).stdout);
}

export function find(objects: readonly KubernetesObject[], kind: string, name?: string): KubernetesObject {
  const found = objects.find((one) => one.kind === kind && (name === undefined || one.metadata.name === name));
  if (found === undefined) throw new Error(`no ${kind} ${name ?? ''}`);
  return found;
}

/** The head, as the group `head`, and the worker groups. */
export function podGroups(objects: readonly KubernetesObject[]): PodGroup[] {
  const { headGroupSpec, workerGroupSpecs } = find(objects, 'RayService').spec.rayClusterConfig;
  return [{ groupName: 'head', minReplicas: 1, maxReplicas: 1, ...headGroupSpec }, ...workerGroupSpecs];
}

export function podGroup(objects: readonly KubernetesObject[], name: string): PodGroup {
  const found = podGroups(objects).find(({ groupName }) => groupName === name);
  if (found === undefined) throw new Error(`no group ${name}`);
  return found;
}

export function environmentOf(container: Container): Record<string, string> {
  return Object.fromEntries((container.env ?? []).flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])));
}

// What the Python side needs, read from its own pyproject.toml: the pins are in one place.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { PYTHON_FOLDER } from './ray-environment.ts';

export interface PythonRequirements {
  /** As pip takes them, for instance `ray[serve]==2.60.0`. */
  readonly requirements: readonly string[];
  /** Least version of Python. */
  readonly minimumVersion: readonly [number, number];
  /** The version of Ray among them. */
  readonly rayVersion: string;
}

interface Project {
  readonly 'requires-python': string;
  readonly dependencies: readonly string[];
  readonly 'optional-dependencies': Readonly<Record<string, readonly string[]>>;
}

/** @param extras names of optional dependencies to add, for instance `dev` */
export async function readPythonRequirements(extras: readonly string[] = []): Promise<PythonRequirements> {
  const { project } = parse(await readFile(join(PYTHON_FOLDER, 'pyproject.toml'), 'utf8')) as unknown as { project: Project };
  const requirements = [...project.dependencies, ...extras.flatMap((extra) => project['optional-dependencies'][extra] ?? [])];
  const [, major, minor] = /^>=(\d+)\.(\d+)/.exec(project['requires-python']) ?? [];
  const rayVersion = requirements.map((line) => /^ray\[.*\]==(.+)$/.exec(line)?.[1]).find((version) => version !== undefined);
  return { requirements, minimumVersion: [Number(major), Number(minor)], rayVersion: rayVersion ?? '' };
}

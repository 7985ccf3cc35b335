// Reads a Dockerfile into its stages, as far as this project's needs it: continued lines, comments, flags of instructions.

export interface Step {
  /** In upper case, for instance RUN. */
  readonly instruction: string;
  /** By name and without dashes, for instance from: build. Of several with one name the last. */
  readonly flags: Readonly<Record<string, string>>;
  /** What follows the flags, on one line. */
  readonly text: string;
  /** Of its first line, from 1. */
  readonly line: number;
}

export interface Stage {
  readonly name: string;
  /** An image or another stage. */
  readonly base: string;
  readonly steps: readonly Step[];
}

export function parseDockerfile(source: string): Stage[] {
  const stages: { name: string; base: string; steps: Step[] }[] = [];
  for (const step of parseSteps(source)) {
    const [, base, name = ''] = step.instruction === 'FROM' ? (/^(\S+)(?: AS (\S+))?$/.exec(step.text) ?? []) : [];
    if (base !== undefined) stages.push({ name, base, steps: [] });
    // ARGs before the first stage belong to FROM lines
    else stages.at(-1)?.steps.push(step);
  }
  return stages;
}

function parseSteps(source: string): Step[] {
  const steps: Step[] = [];
  let pending = '';
  let firstLine = 0;
  for (const [index, line] of source.split('\n').entries()) {
    // comments may stand between continued lines
    if (/^\s*(#|$)/.test(line)) continue;
    if (pending === '') firstLine = index + 1;
    pending += line.replace(/\\$/, '').trim();
    if (line.endsWith('\\')) {
      pending += ' ';
      continue;
    }
    const [, instruction = '', flagText = '', text = ''] = /^(\w+)\s+((?:--\S+\s+)*)(.*)$/.exec(pending) ?? [];
    const flags = Object.fromEntries([...flagText.matchAll(/--([\w-]+)=(\S+)/g)].map(([, name = '', value = '']) => [name, value]));
    steps.push({ instruction: instruction.toUpperCase(), flags, text, line: firstLine });
    pending = '';
  }
  return steps;
}

/** The variables that ENV instructions set, with `$NAME` and `${NAME}` replaced from `given` and from those before. */
export function environmentOf({ steps }: Stage, given: Readonly<Record<string, string>>): Record<string, string> {
  const result: Record<string, string> = {};
  for (const { text } of steps.filter(({ instruction }) => instruction === 'ENV')) {
    const before = { ...given, ...result };
    const expand = (value: string): string => value.replace(/\$\{?(\w+)\}?/g, (_, name: string) => before[name] ?? '');
    for (const [, name = '', value = ''] of text.matchAll(/(\w+)=(\S*)/g)) result[name] = expand(value);
  }
  return result;
}

/** What a stage copies from the folder of the sources, not from other stages: paths and where they go. */
export function copiesOf({ steps }: Stage): { readonly sources: readonly string[]; readonly target: string }[] {
  return steps
    .filter(({ flags, instruction }) => instruction === 'COPY' && flags.from === undefined)
    .map(({ text }) => {
      const words = text.split(/\s+/);
      return { sources: words.slice(0, -1), target: words.at(-1) ?? '' };
    });
}

// What bench/windows.ts varies: the command line, with its help.

import { parseArgs } from 'node:util';
import { DEFAULT_RULES, type DecodingRules } from '../../src/engine/rules.ts';

/** A rule that is one number. */
export type RuleName = Exclude<keyof DecodingRules, 'temperatures'>;

const RULE_NAMES = Object.keys(DEFAULT_RULES).filter((name) => name !== 'temperatures') as RuleName[];

export interface Vary {
  readonly rule: RuleName;
  readonly values: readonly number[];
}

export interface Variant {
  readonly label: string;
  /** Null: all rules have their defaults. */
  readonly rule: RuleName | null;
  readonly value: number | null;
  readonly rules: Partial<DecodingRules>;
}

export interface WindowsOptions {
  readonly corpora: readonly string[];
  readonly streams: number;
  readonly seconds: number;
  readonly engines: number;
  readonly model: string;
  readonly vary: readonly Vary[];
  readonly out: string | null;
}

const DEFAULT_VARY = ['committedStride=1,3,4', 'silenceStride=1,3,8', 'marginSeconds=2,4', 'beams=1,3'];

const HELP = `npm run bench:windows -- [options]

Live streams of joined clips through the engines in this process, as fast as they are taken: word errors and processor time with all rules at
their defaults, then with one of them at another value. Writes JSON and a plot into bench/results/. Needs python3 and PyPI.

  --vary RULE=A,B     values of a rule; may be given several times (default ${DEFAULT_VARY.join(' ')})
                      rules: ${RULE_NAMES.map((name) => `${name} (${DEFAULT_RULES[name]})`).join(', ')}
  --streams N         (default 16)
  --seconds N         of each stream (default 60)
  --engines N         (default 2)
  --corpus FOLDER     with manifest.jsonl; may be given several times (default ../shared/corpus)
  --model NAME        (default base)
  --out FILE          (default bench/results/DATE-COMMIT-windows.json); the plot goes beside it
  --help`;

function countOf(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name}: got ${text}`);
  return value;
}

function varyOf(text: string): Vary {
  const [rule, list = ''] = text.split('=') as [RuleName, string?];
  if (!RULE_NAMES.includes(rule)) throw new Error(`--vary: ${rule} is none of ${RULE_NAMES.join(', ')}`);
  const values = list.split(',').map((item) => (item.trim() === '' ? Number.NaN : Number(item)));
  if (values.some(Number.isNaN)) throw new Error(`--vary ${rule}: got ${list}`);
  return { rule, values };
}

export function parseWindowsOptions(args: readonly string[]): { readonly options: WindowsOptions } | { readonly help: string } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      vary: { type: 'string', multiple: true, default: DEFAULT_VARY },
      streams: { type: 'string', default: '16' },
      seconds: { type: 'string', default: '60' },
      engines: { type: 'string', default: '2' },
      corpus: { type: 'string', multiple: true, default: ['../shared/corpus'] },
      model: { type: 'string', default: 'base' },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return { help: HELP };
  return {
    options: {
      corpora: values.corpus,
      streams: countOf('streams', values.streams),
      seconds: countOf('seconds', values.seconds),
      engines: countOf('engines', values.engines),
      model: values.model,
      vary: values.vary.map(varyOf),
      out: values.out ?? null,
    },
  };
}

/** The defaults first, then a value at a time. */
export function variantsOf(vary: readonly Vary[]): Variant[] {
  const others = vary.flatMap(({ rule, values }) =>
    values
      .filter((value) => value !== DEFAULT_RULES[rule])
      .map((value): Variant => ({ label: `${rule} ${value}`, rule, value, rules: { [rule]: value } })),
  );
  return [{ label: 'default', rule: null, value: null, rules: {} }, ...others];
}

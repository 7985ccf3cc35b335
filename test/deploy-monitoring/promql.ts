// Which metrics and labels a PromQL expression names. It has to be valid: promtool says whether it is.

const LABEL_LIST = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g;
const KEYWORDS = new Set([
  'and',
  'or',
  'unless',
  'bool',
  'offset',
  'by',
  'without',
  'on',
  'ignoring',
  'group_left',
  'group_right',
  'inf',
  'nan',
]);

export interface MetricUse {
  readonly name: string;
  /** Of its matchers, and of the groupings of the whole expression. */
  readonly labels: readonly string[];
}

/** Grafana's variables with something in their place, so that Prometheus can read it. */
export const withoutVariables = (expression: string): string =>
  expression.replaceAll('$__rate_interval', '5m').replace(/\$\{?(\w+)\}?/g, (_, name: string) => name);

export function metricsOf(expression: string): MetricUse[] {
  const bare = withoutVariables(expression).replace(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'/g, '""');
  const grouped = [...bare.matchAll(LABEL_LIST)].flatMap(([, list = '']) => list.split(',').map((label) => label.trim()));
  const uses: MetricUse[] = [];
  // a name that no bracket follows, with its matchers; digits before it make it a unit of time
  const found = bare.replace(LABEL_LIST, ' ').matchAll(/(?<![\w:.])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\(|[\w:])/g);
  for (const [, name = '', matchers = ''] of found) {
    if (KEYWORDS.has(name.toLowerCase())) continue;
    const matched = [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label);
    uses.push({ name, labels: [...matched, ...grouped.filter((label) => label !== '')] });
  }
  return uses;
}

// deploy/monitoring: rules that fire when they should, a dashboard that Grafana takes, and no metric in either that nobody has.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { AnnotationQuery, Dashboard, Panel } from '@grafana/schema';
import { parse, stringify } from 'yaml';
import { type MetricNames, metricNames } from './deploy-monitoring/exposition.ts';
import { metricsOf, withoutVariables } from './deploy-monitoring/promql.ts';
import { promtool } from './promtool.ts';
import { testPython } from './ray-environment.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const execute = promisify(execFile);

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface RuleFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
}

let tool: string;
let ruleFile: RuleFile;
let rules: readonly Rule[];
let dashboard: Dashboard;
let panels: readonly Panel[];
/** Title and expression of each query of the dashboard. */
let queries: readonly (readonly [string, string])[];
let annotations: readonly (readonly [string, string])[];
let work: string;

const read = (path: string): Promise<string> => readFile(join(root, path), 'utf8');

before(async () => {
  tool = await promtool();
  ruleFile = parse(await read('deploy/monitoring/prometheus-rule.yaml')).spec as RuleFile;
  rules = ruleFile.groups.flatMap((group) => group.rules);
  dashboard = JSON.parse(await read('deploy/monitoring/dashboard.json')) as Dashboard;
  panels = (dashboard.panels ?? []).filter((panel): panel is Panel => panel.type !== 'row');
  queries = panels.flatMap(({ targets = [], title = '' }) => targets.map(({ expr }) => [title, String(expr)] as const));
  annotations = (dashboard.annotations?.list ?? []).map(({ expr, name }: AnnotationQuery & Own) => [name, String(expr)] as const);
  // within the project, for TypeScript finds Grafana's types from there
  await mkdir(join(root, '.cache'), { recursive: true });
  work = await mkdtemp(join(root, '.cache', 'monitoring-'));
});

after(() => rm(work, { recursive: true }));

/** Output of promtool, and whether it was content. */
async function run(...args: string[]): Promise<{ readonly isGood: boolean; readonly output: string }> {
  return execute(tool, args, { cwd: work, timeout: 120_000 }).then(
    ({ stderr, stdout }) => ({ isGood: true, output: `${stdout}${stderr}` }),
    ({ stderr = '', stdout = '', ...error }) => {
      if (typeof error.code !== 'number') throw error;
      return { isGood: false, output: `${stdout}${stderr}` };
    },
  );
}

/** The project's cases on some rules. */
async function testRules(file: RuleFile): Promise<{ readonly isGood: boolean; readonly output: string }> {
  await writeFile(join(work, 'rules.yaml'), stringify(file));
  await copyFile(join(root, 'deploy/monitoring/rules.test.yaml'), join(work, 'rules.test.yaml'));
  return run('test', 'rules', 'rules.test.yaml');
}

/** Each expression by itself, since promtool stops at the first bad one of a file. @returns those that are none */
async function unreadable(expressions: readonly string[]): Promise<string[]> {
  const checked = await Promise.all(
    expressions.map(async (expression, index) => {
      const rule = { record: 'checked', expr: withoutVariables(expression) };
      await writeFile(join(work, `expression-${index}.yaml`), stringify({ groups: [{ name: 'checked', rules: [rule] }] }));
      const { isGood } = await run('check', 'rules', `expression-${index}.yaml`);
      return isGood ? null : expression;
    }),
  );
  return checked.filter((expression) => expression !== null);
}

test('promtool finds nothing wrong with the rules', async () => {
  await writeFile(join(work, 'rules.yaml'), stringify(ruleFile));
  const { isGood, output } = await run('check', 'rules', 'rules.yaml');
  assert.ok(isGood, output);
  assert.match(output, new RegExp(`${rules.length} rules found`));
});

test('each alert fires when it should and is quiet when it should be', async () => {
  const { isGood, output } = await testRules(ruleFile);
  assert.ok(isGood, output);
  const cases = await read('deploy/monitoring/rules.test.yaml');
  for (const { alert } of rules)
    if (alert !== undefined) assert.ok(cases.includes(`alertname="${alert}", alertstate="firing"`), `no case for ${alert}`);
});

test('a rule that never fires, and one that fires too early, would be found', async () => {
  const changed = (alert: string, change: (expr: string) => string): RuleFile => ({
    groups: ruleFile.groups.map((group) => ({
      ...group,
      rules: group.rules.map((rule) => (rule.alert === alert ? { ...rule, expr: change(rule.expr) } : rule)),
    })),
  });
  const never = await testRules(changed('WhisperStreamingNoRecogniser', (expr) => expr.replace('== 0', '< 0')));
  assert.ok(!never.isGood && never.output.includes('WhisperStreamingNoRecogniser'), never.output);
  const early = await testRules(changed('WhisperStreamingEnginesSaturated', (expr) => expr.replace('0.75', '0.5')));
  assert.ok(!early.isGood && early.output.includes('WhisperStreamingEnginesSaturated'), early.output);
});

test('every query of the dashboard is PromQL, and one that is not would be found', async () => {
  assert.ok(queries.length > 30);
  assert.deepEqual(await unreadable([...queries, ...annotations].map(([, expr]) => expr)), []);
  assert.deepEqual(await unreadable(['sum by (a) (rate(b[5m])', 'up']), ['sum by (a) (rate(b[5m])']);
});

test('names and labels are read out of expressions', () => {
  assert.deepEqual(
    metricsOf('sum by (le, a) (rate(b_bucket{c="x{y", d=~"$e|"}[$__rate_interval])) / on (f) group_left () g:h offset 5m > 1.5e3'),
    [
      { name: 'b_bucket', labels: ['c', 'd', 'le', 'a', 'f'] },
      { name: 'g:h', labels: ['le', 'a', 'f'] },
    ],
  );
  assert.deepEqual(metricNames('# HELP a b\na{b="c,d=\\"e\\"",f="g"} 1\na{h="i"} 1 2\nj 3\n'), { a: ['b', 'f', 'h'], j: [] });
});

/** Tables of docs/metrics.md. */
async function documentedMetrics(): Promise<MetricNames> {
  const rows = (await read('docs/metrics.md')).matchAll(/^\| `(whisper_\w+)` \| (\w+) \| (.*?) \|/gm);
  const names: [string, string[]][] = [];
  for (const [, name = '', kind, labels = ''] of rows) {
    const ownLabels = [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label);
    if (kind !== 'histogram') names.push([name, ownLabels]);
    else names.push([`${name}_bucket`, [...ownLabels, 'le']], [`${name}_sum`, ownLabels], [`${name}_count`, ownLabels]);
  }
  return Object.fromEntries(names);
}

/** Ray has them only where there is a GPU, which the scraped one had not. */
const GPU_METRICS: MetricNames = {
  ray_node_gpus_utilization: ['GpuIndex', 'GpuDeviceName'],
  ray_node_gram_used: ['GpuIndex', 'GpuDeviceName'],
  ray_node_gram_available: ['GpuIndex', 'GpuDeviceName'],
};
/** What scraping adds, and what Serve adds to the metrics of its replicas. */
const ADDED_LABELS = ['namespace', 'pod', 'application', 'deployment', 'replica'];

test('every metric and label in rules and dashboard is one that the service, Ray or HAProxy has', async () => {
  const scraped = JSON.parse(await read('test/deploy-monitoring/scraped.json')) as MetricNames;
  const recorded = Object.fromEntries(
    rules.flatMap(({ expr, record }) => (record === undefined ? [] : [[record, metricsOf(expr).flatMap(({ labels }) => labels)]])),
  );
  const known: MetricNames = {
    ...scraped,
    ...(await documentedMetrics()),
    ...GPU_METRICS,
    ...recorded,
    ALERTS: ['alertname', 'alertstate'],
  };
  const variables = (dashboard.templating?.list ?? []).flatMap(({ name, query }) => {
    const [, metric] = /^label_values\((.*), \w+\)$/.exec(String((query as { query?: string } | undefined)?.query)) ?? [];
    return metric === undefined ? [] : [[`variable ${name}`, metric] as const];
  });
  assert.equal(variables.length, 2);
  const asked = [
    ...rules.map(({ alert, expr, record }) => [alert ?? record ?? '', expr] as const),
    ...queries,
    ...annotations,
    ...variables,
  ];
  for (const [where, expression] of asked) {
    const uses = metricsOf(expression);
    assert.ok(uses.length > 0, `${where}: no metric in ${expression}`);
    const labels = uses.flatMap(({ name }) => known[name] ?? assert.fail(`${where}: nobody has ${name}`));
    for (const use of uses) {
      for (const label of use.labels)
        assert.ok([...labels, ...ADDED_LABELS].includes(label), `${where}: ${use.name} has no label ${label}`);
    }
  }
});

test('the metrics of GPUs have the names that the installed Ray gives them', async () => {
  const { python } = await testPython();
  const script = "import ray, pathlib; print(pathlib.Path(ray.__path__[0], 'dashboard/modules/reporter/reporter_agent.py').read_text())";
  const { stdout } = await execute(python, ['-c', script], { maxBuffer: 2 ** 24 });
  for (const [name, labels] of Object.entries(GPU_METRICS)) {
    assert.ok(stdout.includes(`"${name.replace('ray_', '')}"`), name);
    for (const label of labels) assert.ok(stdout.includes(`"${label}"`), `${name}: ${label}`);
  }
});

interface Relabeling {
  readonly sourceLabels?: readonly string[];
  readonly regex: string;
  readonly targetLabel?: string;
  readonly replacement?: string;
  readonly action?: string;
}

/** What Prometheus makes of a name: rules in turn, each of them anchored. Null: it is dropped. */
function relabelled(name: string, relabelings: readonly Relabeling[]): string | null {
  let result = name;
  for (const { action = 'replace', regex, replacement = '$1' } of relabelings) {
    const anchored = new RegExp(`^(?:${regex})$`);
    if (action === 'keep' && !anchored.test(result)) return null;
    if (action === 'replace' && anchored.test(result)) result = result.replace(anchored, replacement);
  }
  return result;
}

test("a scrape of the service on Ray gives the documented names, and keeps what the dashboard asks for of HAProxy's", async () => {
  const monitor = parse(await read('deploy/monitoring/pod-monitor.yaml')).spec as {
    podMetricsEndpoints: readonly { port: string; metricRelabelings: readonly Relabeling[] }[];
  };
  const [ray, haproxy] = ['metrics', 'haproxy-metrics'].map(
    (port) => monitor.podMetricsEndpoints.find((endpoint) => endpoint.port === port)!,
  );
  const scraped = JSON.parse(await read('test/deploy-monitoring/scraped.json')) as MetricNames;
  const documented = await documentedMetrics();
  const own = Object.keys(scraped).filter((name) => name.startsWith('ray_whisper_'));
  assert.ok(own.length > 40);
  for (const name of own) {
    const stored = relabelled(name, ray!.metricRelabelings) ?? '';
    assert.ok(stored in documented, `${name} becomes ${stored}, which docs/metrics.md does not have`);
    const labels = new Set([...documented[stored]!, ...ADDED_LABELS]);
    const dropped = ray!.metricRelabelings.filter(({ action }) => action === 'labeldrop').map(({ regex }) => new RegExp(`^(?:${regex})$`));
    const rays = ['Component', 'NodeAddress', 'SessionName', 'Version', 'WorkerId'];
    for (const label of scraped[name]!)
      assert.ok(labels.has(label) || rays.includes(label) || dropped.some((regex) => regex.test(label)), `${name}: ${label}`);
  }
  assert.equal(relabelled('ray_serve_deployment_status', ray!.metricRelabelings), 'ray_serve_deployment_status');
  for (const { name } of queries.flatMap(([, expr]) => metricsOf(expr))) {
    if (name.startsWith('haproxy_')) assert.equal(relabelled(name, haproxy!.metricRelabelings), name);
  }
  assert.equal(relabelled('haproxy_server_status', haproxy!.metricRelabelings), null);
});

test('a plain Prometheus takes its configuration, and names what it scrapes as the operator does', async () => {
  await writeFile(join(work, 'rules.yaml'), stringify(ruleFile));
  await copyFile(join(root, 'deploy/monitoring/prometheus.yml'), join(work, 'prometheus.yml'));
  const { isGood, output } = await run('check', 'config', 'prometheus.yml');
  assert.ok(isGood, output);
  const plain = parse(await read('deploy/monitoring/prometheus.yml')).scrape_configs[1].metric_relabel_configs;
  const [endpoint] = parse(await read('deploy/monitoring/pod-monitor.yaml')).spec.podMetricsEndpoints;
  const inSnakeCase = (endpoint.metricRelabelings as readonly object[]).map((relabeling) =>
    Object.fromEntries(
      Object.entries(relabeling).map(([key, value]) => [key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]),
    ),
  );
  assert.deepEqual(plain, inSnakeCase);
});

/** JSON has strings where Grafana's types have string enums. */
const TYPES = `
import type { Dashboard, GraphFieldConfig } from '@grafana/schema';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as TimeSeriesOptions } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
type Plain<T> = T extends string ? \`\${T}\` : T extends number | boolean | null | undefined ? T : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
`;

interface Own {
  readonly expr?: string;
  readonly tagKeys?: string;
  readonly titleFormat?: string;
}

/** What TypeScript has to say of a dashboard, by Grafana's own types. */
async function typeErrors(value: Dashboard): Promise<string> {
  const ofType = (type: string): Panel[] => (value.panels ?? []).filter((panel): panel is Panel => panel.type === type);
  const [stats, timeSeries] = [ofType('stat'), ofType('timeseries')];
  // The query of an annotation is the data source's own, and the schema says nothing of it.
  const annotations = (value.annotations?.list ?? []).map(
    ({ expr: _, tagKeys: __, titleFormat: ___, ...rest }: AnnotationQuery & Own) => rest,
  );
  const source = [
    TYPES,
    `export const dashboard: Plain<Dashboard> = ${JSON.stringify({ ...value, annotations: { list: annotations } })};`,
    `export const stats: Plain<StatOptions>[] = ${JSON.stringify(stats.map(({ options }) => options))};`,
    `export const timeSeries: Plain<TimeSeriesOptions>[] = ${JSON.stringify(timeSeries.map(({ options }) => options))};`,
    `export const fields: Plain<GraphFieldConfig>[] = ${JSON.stringify(timeSeries.map(({ fieldConfig }) => fieldConfig?.defaults.custom))};`,
  ];
  await writeFile(join(work, 'dashboard.ts'), source.join('\n'));
  const compilerOptions = { strict: true, noEmit: true, skipLibCheck: true, module: 'esnext', moduleResolution: 'bundler', types: [] };
  await writeFile(join(work, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['dashboard.ts'] }));
  return execute(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(work, 'tsconfig.json')]).then(
    () => '',
    ({ stdout }: { stdout: string }) => stdout,
  );
}

test("the dashboard has the shape that Grafana's own types ask for, and what has not would be found", async () => {
  assert.equal(await typeErrors(dashboard), '');
  const [first] = panels;
  assert.match(await typeErrors({ ...dashboard, panels: [{ ...first!, gridPosition: { h: 1 } } as Panel] }), /gridPosition/);
  const options = { ...first!.options, graphMode: 'pie' };
  assert.match(await typeErrors({ ...dashboard, panels: [{ ...first!, type: 'stat', options }] }), /pie/);
});

test('panels do not overlap, have numbers of their own, and ask the chosen Prometheus', () => {
  const all = dashboard.panels ?? [];
  assert.equal(new Set(all.map(({ id }) => id)).size, all.length);
  const taken = new Set<string>();
  for (const { gridPos, title } of all) {
    const { h, w, x, y } = gridPos!;
    assert.ok(x + w <= 24, `${title} is wider than the page`);
    for (let row = y; row < y + h; row++) {
      for (let column = x; column < x + w; column++) {
        assert.ok(!taken.has(`${row},${column}`), `${title} lies on another panel`);
        taken.add(`${row},${column}`);
      }
    }
  }
  for (const { datasource, targets = [], title } of panels) {
    assert.equal(datasource?.uid, `\${datasource}`, title);
    assert.deepEqual(
      targets.map(({ refId }) => refId),
      targets.map((_, index) => String.fromCharCode(65 + index)),
      title,
    );
  }
  for (const [title, expr] of queries) assert.ok(expr.includes('namespace="$namespace"'), `${title} shows other namespaces, too`);
});

test('every alert says what is to be done, here and in docs/monitoring.md', async () => {
  const docs = await read('docs/monitoring.md');
  for (const { alert, annotations } of rules) {
    if (alert === undefined) continue;
    for (const name of ['summary', 'description', 'runbook']) assert.ok((annotations?.[name] ?? '').length > 10, `${alert}: ${name}`);
    assert.ok(docs.includes(`\`${alert}\``), `docs/monitoring.md does not have ${alert}`);
  }
});

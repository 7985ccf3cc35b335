// Names of metrics and of their labels in Prometheus' text format. As a program, the list that the tests hold the rules against:
//
//   node --import tsx test/deploy-monitoring/exposition.ts http://localhost:8080/metrics http://localhost:9101/metrics
//
// prints those of a running service on Ray, once something was streamed and something refused; it goes into scraped.json.

import { fileURLToPath } from 'node:url';

/** Each metric's labels, sorted. */
export type MetricNames = Readonly<Record<string, readonly string[]>>;

export function metricNames(text: string): MetricNames {
  const names = new Map<string, Set<string>>();
  for (const line of text.split('\n')) {
    const [, name, labels = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? /.exec(line) ?? [];
    if (name === undefined) continue;
    const known = names.get(name) ?? new Set();
    for (const [, label = ''] of labels.matchAll(/(\w+)="(?:\\.|[^"\\])*"/g)) known.add(label);
    names.set(name, known);
  }
  return Object.fromEntries(
    [...names].sort(([one], [other]) => (one < other ? -1 : 1)).map(([name, labels]) => [name, [...labels].sort()]),
  );
}

/** What rules and dashboard may ask for. */
const OF_INTEREST = /^(ray_(whisper|serve|node)|haproxy_frontend)_/;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const texts = await Promise.all(process.argv.slice(2).map(async (url) => (await fetch(url)).text()));
  const names = Object.entries(metricNames(texts.join('\n'))).filter(([name]) => OF_INTEREST.test(name));
  console.log(JSON.stringify(Object.fromEntries(names)));
}

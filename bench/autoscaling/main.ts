// npm run bench:autoscaling: a simulated day of callers on Ray Serve's autoscaling, as a table, JSON and a plot.

import { writeFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { SingleBar } from 'cli-progress';
import { environmentOf, writeResult } from '../report.ts';
import { dayOptions } from './day-options.ts';
import { type AutoscalingOptions, parseAutoscalingOptions } from './options.ts';
import { plotDay } from './plot.ts';
import { type DayOptions, simulateDay } from './simulate.ts';
import type { DaySummary, Interval } from './tally.ts';

async function run(options: DayOptions): Promise<{ intervals: Interval[]; summary: DaySummary }> {
  const bar = new SingleBar({
    format: '[{bar}] hour {hour} of {hours}, {streams} streams, {recognisers} recognisers',
    stream: process.stderr,
    noTTYOutput: true,
    notTTYSchedule: 5000,
    barsize: 30,
    gracefulExit: false,
  });
  bar.start(options.hours, 0, { hour: 0, hours: options.hours, streams: 0, recognisers: 0 });
  const intervals: Interval[] = [];
  const day = simulateDay(options);
  for (;;) {
    const { done, value } = day.next();
    if (done === true) {
      bar.update(options.hours);
      bar.stop();
      return { intervals, summary: value };
    }
    intervals.push(value);
    // the bar draws by a timer where nobody looks on
    await setImmediate();
    const { atHour, recognisers, streams } = value;
    bar.update(atHour, { hour: Math.floor(atHour), streams: Math.round(streams), recognisers: Math.round(recognisers) });
  }
}

function formatSummary(summary: DaySummary, engines: number): string {
  const { arrived, asrNodeHours, cut, moved, refused, recogniserHours, serverHours, serverNodeHours, stillOpen, streamHours } = summary;
  const { p50, p95, p99 } = summary.wordFinalSeconds;
  const percent = (count: number): string => `${((100 * count) / arrived).toFixed(2)} %`;
  return [
    `callers      ${arrived}; refused ${refused} (${percent(refused)}), moved to another server ${moved}, cut off by that ${cut}, still there ${stillOpen}`,
    `streams      ${summary.peakStreams} at most, ${streamHours} hours in all, ${summary.windows} windows`,
    `words final  p50 ${p50?.toFixed(2)} s, p95 ${p95?.toFixed(2)} s, p99 ${p99?.toFixed(2)} s`,
    `recognisers  ${recogniserHours} hours of ${engines} engines on ${asrNodeHours.toFixed(1)} machine hours: ${(streamHours / recogniserHours).toFixed(1)} streams a replica, ${(streamHours / asrNodeHours).toFixed(1)} a machine`,
    `servers      ${serverHours} hours on ${serverNodeHours.toFixed(1)} machine hours`,
    `cost         ${((1000 * (asrNodeHours + serverNodeHours)) / streamHours).toFixed(1)} machine hours for 1000 stream hours`,
  ].join('\n');
}

async function bench(options: AutoscalingOptions): Promise<void> {
  const day = await dayOptions(options);
  const environment = await environmentOf({});
  const startMs = performance.now();
  const { intervals, summary } = await run(day);
  const seconds = Number(((performance.now() - startMs) / 1000).toFixed(1));
  console.log(formatSummary(summary, day.profile.engines));
  const { out, ...settings } = options;
  const { asr, profile, server } = day;
  const path = await writeResult(out, 'autoscaling', {
    environment,
    settings,
    profile,
    autoscaling: { server: server.autoscaling, asr: asr.autoscaling },
    simulationSeconds: seconds,
    summary,
    intervals,
  });
  console.log(path);
  const basis = profile.basis === 'measured' ? 'service times measured' : 'SERVICE TIMES ASSUMED';
  const plot = `${path.replace(/\.json$/, '')}.svg`;
  await writeFile(plot, `${await plotDay(intervals, `peak of ${options.peakStreams} streams; ${profile.title}; ${basis}`)}\n`);
  console.log(plot);
}

const parsed = parseAutoscalingOptions(process.argv.slice(2));
if ('help' in parsed) console.log(parsed.help);
else await bench(parsed.options);

// The simulated day as a whole: nobody is lost, a seed repeats it, and one replica behaves as the measured one did.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AutoscalingConfig } from './autoscaler.ts';
import { dayOptions } from './day-options.ts';
import { parseAutoscalingOptions } from './options.ts';
import { createRandom } from './random.ts';
import { readProfiles } from './service-times.ts';
import { type DayOptions, simulateDay } from './simulate.ts';
import type { DaySummary, Interval } from './tally.ts';

const profiles = await readProfiles(new URL('profiles.json', import.meta.url));
const MEASURED = profiles['base-int8-2-vnni-cores']!;
const NODES = { replicasPerNode: 3, nodeStartSeconds: [90, 150], replicaStartSeconds: [8, 15], idleSeconds: 120 } as const;

const scaling = (minReplicas: number, maxReplicas: number, targetOngoingRequests: number): AutoscalingConfig => {
  return {
    minReplicas,
    maxReplicas,
    targetOngoingRequests,
    lookBackSeconds: 10,
    metricsIntervalSeconds: 2,
    upscaleDelaySeconds: 5,
    downscaleDelaySeconds: 300,
  };
};

function run(options: DayOptions): { intervals: Interval[]; summary: DaySummary } {
  const intervals: Interval[] = [];
  const day = simulateDay(options);
  for (;;) {
    const { done, value } = day.next();
    if (done === true) return { intervals, summary: value };
    intervals.push(value);
  }
}

/** One recogniser and one server, fixed. */
const onOneReplica = (calls: DayOptions['calls'], hours: number, admitAll: boolean, seed = 1): DayOptions => ({
  calls,
  hours,
  random: createRandom(seed),
  profile: MEASURED,
  server: { autoscaling: scaling(1, 1, 100), nodes: NODES },
  asr: { autoscaling: scaling(1, 1, 1.2), nodes: NODES },
  drainSeconds: 60,
  maxSessions: 1024,
  draftShare: 1,
  admitAll,
});

async function cluster(...args: string[]): Promise<DayOptions> {
  const parsed = parseAutoscalingOptions(args);
  assert.ok('options' in parsed);
  return dayOptions(parsed.options);
}

test('who came was served, was refused, was cut off, or is still there', async () => {
  for (const replicas of ['1:2', '1:40']) {
    const { intervals, summary } = run(
      await cluster('--peak-streams', '300', '--hours', '14', '--asr-replicas', replicas, '--server-replicas', '1:4'),
    );
    const { arrived, cut, refused, served, stillOpen } = summary;
    assert.equal(arrived, served + refused + cut + stillOpen);
    assert.ok(served > 1000 && stillOpen > 0);
    assert.equal(refused > 1000, replicas === '1:2', `${refused} refused with ${replicas} replicas`);
    assert.equal(
      arrived,
      intervals.reduce((sum, interval) => sum + interval.arrived, 0),
    );
    assert.equal(
      refused,
      intervals.reduce((sum, interval) => sum + interval.refused, 0),
    );
  }
});

test('a seed repeats a day to the last figure, another gives another', async () => {
  const day = async (seed: string) => run(await cluster('--peak-streams', '200', '--hours', '9', '--asr-replicas', '1:20', '--seed', seed));
  assert.deepEqual(await day('5'), await day('5'));
  assert.notDeepEqual((await day('5')).summary, (await day('6')).summary);
});

// Measured: bench/results/2026-11-25-*-capacity.json, seconds of word-final latency at 95 %
for (const [streams, p95] of [
  [1, 4.84],
  [8, 4.9],
  [16, 4.96],
  [24, 5.68],
  [28, 5.55],
] as const) {
  test(`${streams} streams on one replica have the latency that was measured`, () => {
    const calls = Array.from({ length: streams }, (_, index) => ({ atSeconds: (5 * index) / streams, durationSeconds: 1700 }));
    const { wordFinalSeconds } = run(onOneReplica(calls, 0.5, true)).summary;
    assert.ok(Math.abs(wordFinalSeconds.p95! - p95) < 0.4, `simulated ${wordFinalSeconds.p95}, measured ${p95}`);
  });
}

// Measured: bench/results/2026-11-25-58044cb-overload.json, a stream every 3 s until one was refused: 26 were in
test('one replica lets in about as many streams as the real one did', () => {
  const calls = Array.from({ length: 60 }, (_, index) => ({ atSeconds: 3 * index, durationSeconds: 600 }));
  const refusedOf = (count: number, seed: number): number => run(onOneReplica(calls.slice(0, count), 1 / 12, false, seed)).summary.refused;
  const letIn = [1, 2, 3, 4, 5].map((seed) => calls.findIndex((_, count) => refusedOf(count + 1, seed) > 0)).sort((a, b) => a - b);
  assert.ok(Math.abs(letIn[2]! - 26) <= 6, `${letIn} let in before the first refusal`);
});

test('with more than there is room for, those who are in keep their latency', () => {
  const calls = Array.from({ length: 6000 }, (_, index) => ({ atSeconds: index * 0.6, durationSeconds: 120 }));
  const { refused, wordFinalSeconds } = run(onOneReplica(calls, 1, false)).summary;
  assert.ok(refused > 4500);
  assert.ok(wordFinalSeconds.p95! < 7, `${wordFinalSeconds.p95} s`);
});

test('machines are paid for from their order to their return, and replicas follow the day', async () => {
  const { intervals, summary } = run(await cluster('--peak-streams', '300', '--asr-replicas', '1:40', '--server-replicas', '1:8'));
  const at = (hour: number): Interval => intervals.find(({ atHour }) => atHour >= hour)!;
  assert.ok(at(11).recognisers > 4 * at(3).recognisers);
  assert.ok(at(23).recognisers < 0.3 * at(11).recognisers);
  assert.ok(summary.recogniserHours / 3 <= summary.asrNodeHours && summary.asrNodeHours <= summary.recogniserHours);
  assert.ok(summary.moved > 0, 'servers were scaled down with streams on them');
});

test('options that make no sense are named', () => {
  assert.throws(() => parseAutoscalingOptions(['--asr-replicas', '4:2']), /--asr-replicas: got 4:2/);
  assert.throws(() => parseAutoscalingOptions(['--by-hour', '1,2']), /24 numbers/);
  assert.throws(() => parseAutoscalingOptions(['--peak-streams', 'many']), /got many/);
  assert.ok('help' in parseAutoscalingOptions(['--help']));
});

test('a profile that does not exist is refused with those that do', async () => {
  await assert.rejects(cluster('--profile', 'tpu'), /tpu is none of base-int8-2-vnni-cores, gpu-assumed/);
});

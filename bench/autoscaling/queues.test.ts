// The parts of the simulation that have a known answer: queues against their formulas, events in order, meters, random numbers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { callsOf, OFFICE_DAY, shareAt } from './callers.ts';
import { EventQueue } from './event-queue.ts';
import { FinalMeter, OngoingMeter } from './meters.ts';
import { createRandom } from './random.ts';
import { choose, Recogniser } from './recognisers.ts';
import { meanFinalSeconds, readProfiles, spreadFactors } from './service-times.ts';
import { WordLatency } from './word-latency.ts';

const WINDOWS = 400_000;

/** Mean wait of Poisson arrivals at one recogniser. @param load share of the engines' time */
function meanWait(engines: number, load: number, serviceSeconds: () => number): number {
  const random = createRandom(3);
  const recogniser = new Recogniser(engines);
  let [now, waited] = [0, 0];
  for (let window = 0; window < WINDOWS; window++) {
    now += random.exponential(1 / (engines * load));
    waited += recogniser.submit(now, serviceSeconds()) - now;
  }
  return waited / WINDOWS;
}

const isNear = (value: number, expected: number, tolerance: number): void =>
  assert.ok(Math.abs(value - expected) <= tolerance * expected, `${value}, expected ${expected}`);

test('one engine with equal windows waits as Pollaczek and Khinchine say', () => {
  for (const load of [0.5, 0.75])
    isNear(
      meanWait(1, load, () => 1),
      load / (2 * (1 - load)),
      0.03,
    );
});

test('several engines with exponential windows wait as Erlang says', () => {
  const random = createRandom(4);
  for (const [engines, load] of [
    [1, 0.75],
    [2, 0.75],
    [4, 0.6],
  ] as const) {
    const offered = engines * load;
    let blocked = 1;
    for (let server = 1; server <= engines; server++) blocked = (offered * blocked) / (server + offered * blocked);
    const waits = blocked / (1 - load * (1 - blocked));
    isNear(
      meanWait(engines, load, () => random.exponential(1)),
      waits / (engines * (1 - load)),
      0.04,
    );
  }
});

test('of two replicas the less busy is chosen, and a choice of two shortens the wait', () => {
  const random = createRandom(5);
  const pair = [new Recogniser(1), new Recogniser(1)];
  for (let window = 0; window < 20; window++) pair[0]!.submit(0, 1);
  const chosen = Array.from({ length: 200 }, () => choose(pair, random));
  const share = chosen.filter((recogniser) => recogniser === pair[1]).length / chosen.length;
  assert.ok(share > 0.65 && share < 0.85, `drawn at least once in three of four cases: ${share}`);
});

test('the longest wait is that of the oldest window that has not begun', () => {
  const recogniser = new Recogniser(1);
  for (const now of [0, 1, 2]) recogniser.submit(now, 10);
  assert.equal(recogniser.oldestWaitSeconds(5), 4);
  assert.equal(recogniser.oldestWaitSeconds(10), 8, 'the second has begun, the third has waited since 2');
  assert.equal(recogniser.oldestWaitSeconds(20), 0);
});

test('events come out by time, whatever was pushed, dropped and postponed', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), time: fc.integer({ min: 0, max: 50 }) }),
    fc.record({ kind: fc.constantFrom('drop' as const, 'postpone' as const), time: fc.integer({ min: 0, max: 50 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new EventQueue();
      let expected: number[] = [];
      for (const { kind, time } of steps) {
        if (kind === 'push') {
          queue.push(time, time);
          expected.push(time);
        } else if (expected.length > 0) {
          const [, ...rest] = expected.sort((one, other) => one - other);
          expected = rest;
          if (kind === 'drop') queue.drop();
          else {
            queue.postpone(time);
            expected.push(time);
          }
        }
        assert.equal(queue.size, expected.length);
        assert.equal(queue.nextTime, Math.min(Number.POSITIVE_INFINITY, ...expected));
      }
    }),
  );
});

test('a request counts for the time that it was under way, as of the last report', () => {
  const meter = new OngoingMeter();
  for (let second = 0; second < 12; second++) meter.begin(second);
  meter.addSpan(0.5, 2.25);
  meter.addDuring(9, 3);
  assert.equal(meter.mean(10, 10, 2), (1.75 + 3) / 10);
  assert.equal(meter.mean(11, 10, 2), (1.75 + 3) / 10, 'what came since is not reported yet');
  assert.equal(meter.mean(12, 10, 2), (0.25 + 3) / 10);
});

test('finals give the share of the engines and the delay of the last ten seconds', () => {
  const meter = new FinalMeter();
  for (let second = 0; second < 30; second++) meter.begin(second);
  assert.equal(meter.delaySeconds(1), 0);
  for (let final = 0; final < 100; final++) meter.add(5 + final / 100, 0.1, final < 94 ? 0.2 : 3);
  assert.ok(Math.abs(meter.share(10, 2) - 0.5) < 1e-9);
  isNear(meter.delaySeconds(10), 3, 0.2);
  assert.equal(meter.share(16, 2), 0);
  const few = new FinalMeter();
  for (let second = 0; second < 30; second++) few.begin(second);
  few.add(5, 0.1, 3);
  isNear(few.delaySeconds(10), 3, 0.2);
  for (const delay of [0.1, 0.5, 0.2]) few.add(6, 0.1, delay);
  isNear(few.delaySeconds(10), 0.5, 0.2);
});

test('word latency is the age of words in a window and its delay', () => {
  const latency = new WordLatency();
  assert.equal(latency.quantile(0.5), null);
  for (let window = 0; window < 1000; window++) latency.add(0.2);
  isNear(latency.quantile(0.5)!, 1.45 + 0.2 + 1.7, 0.01);
  isNear(latency.quantile(0.95)!, 1.45 + 0.2 + 0.95 * 3.4, 0.01);
  const late = new WordLatency();
  for (let window = 0; window < 111; window++) late.add(1e6);
  late.addAll(latency);
  assert.ok(late.quantile(0.95)! > 100, 'what is later than all bins is not forgotten');
});

test('calls follow the hours, and fill as many streams as they should', () => {
  const options = { peakStreams: 500, meanSeconds: 300, variation: 1, shareByHour: OFFICE_DAY, hours: 24 };
  const calls = [...callsOf(options, createRandom(1))];
  const during = (hour: number): number => calls.filter(({ atSeconds }) => Math.floor(atSeconds / 3600) === hour).length;
  assert.equal(shareAt(OFFICE_DAY, 10.5 * 3600), 1);
  isNear(during(10), (3600 * 500) / 300, 0.06);
  isNear(during(2) / during(10), 0.02, 0.4);
  isNear(calls.reduce((sum, { durationSeconds }) => sum + durationSeconds, 0) / calls.length, 300, 0.03);
  assert.ok(calls.every(({ atSeconds }, index) => index === 0 || atSeconds >= calls[index - 1]!.atSeconds));
});

test('service times are those of the profile, level beyond its points, and spread about their mean', async () => {
  const profiles = await readProfiles(new URL('profiles.json', import.meta.url));
  const measured = profiles['base-int8-2-vnni-cores']!;
  assert.equal(meanFinalSeconds(measured, 1), 0.245);
  isNear(meanFinalSeconds(measured, 10), (0.245 + 0.217) / 2, 1e-9);
  assert.equal(meanFinalSeconds(measured, 99), 0.19);
  const factors = spreadFactors(measured.variation, createRandom(1));
  isNear(factors.reduce((sum, factor) => sum + factor, 0) / factors.length, 1, 1e-9);
  for (const { basis, source } of Object.values(profiles))
    assert.ok(basis === 'measured' ? /bench\/results/.test(source) : /Nothing is measured/.test(source));
});

// The capacity benchmark's own arithmetic: what streams play and when, latency of words, the hold rule, overload and soak.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StreamReport } from './generator-messages.ts';
import { isFarOut, isHeld, largestHeld, type StepFigures } from './hold.ts';
import { firstSpeechSample, quantiles, slope, spreadWords, wordLatencySeconds } from './latency.ts';
import { type LoadReport, usedBetween } from './load.ts';
import { parseCapacityOptions } from './options.ts';
import { phaseOf } from './overload.ts';
import { frameDueMs, type PcmClip, planStream, SAMPLE_RATE, shuffled, staggerMs } from './plan.ts';
import { minutesOf, trend } from './soak.ts';

const clip = (name: string, seconds: number): PcmClip => ({
  name,
  pcmFile: name,
  sampleCount: seconds * SAMPLE_RATE,
  text: `text-${name}`,
});
const CLIPS = [2, 3, 5, 7, 11, 13, 17, 19, 23].map((seconds) => clip(String(seconds), seconds));

test('a stream ends at the end of a clip, within its time, and says what its clips say', () => {
  for (let index = 0; index < 20; index++) {
    const plan = planStream(CLIPS, index, 60);
    const last = plan.parts.at(-1)!;
    assert.equal(plan.sampleCount, last.startSample + last.sampleCount);
    assert.ok(plan.sampleCount <= 60 * SAMPLE_RATE);
    // The shortest clip and its silence would not have fitted any more
    assert.ok(plan.sampleCount + 2.8 * SAMPLE_RATE > 60 * SAMPLE_RATE);
    assert.equal(plan.text, plan.parts.map(({ pcmFile }) => `text-${pcmFile}`).join(' '));
    for (const [at, part] of plan.parts.entries()) {
      const before = plan.parts[at - 1];
      assert.equal(part.startSample, before === undefined ? 0 : before.startSample + before.sampleCount + 0.8 * SAMPLE_RATE);
    }
  }
});

test('a long stream plays its clips round and round; nothing that fits is an error', () => {
  const plan = planStream(CLIPS, 0, 1000);
  assert.ok(plan.parts.length > 2 * CLIPS.length);
  assert.ok(plan.sampleCount > 990 * SAMPLE_RATE);
  assert.throws(() => planStream(CLIPS, 0, 1), /no clip of at most 1 s/);
});

test('streams begin at different clips, and the same stream is the same in every run', () => {
  const first = CLIPS.map((_, index) => planStream(CLIPS, index, 30).parts[0]!.pcmFile);
  assert.equal(new Set(first).size, first.length);
  assert.deepEqual(planStream(CLIPS, 4, 30), planStream(CLIPS, 4, 30));
  assert.deepEqual(
    [...shuffled(CLIPS)].sort((a, b) => a.sampleCount - b.sampleCount),
    CLIPS,
  );
});

test('starts are spread over one chunk, and frames are due when they are full, without drift', () => {
  assert.deepEqual(staggerMs(4, 5), [0, 1250, 2500, 3750]);
  assert.equal(frameDueMs(1000, 0, 0.1, 1), 1100);
  assert.equal(frameDueMs(1000, 35_999, 0.1, 1), 1000 + 3_600_000);
  assert.equal(frameDueMs(1000, 9, 0.1, 2), 1500);
});

test('the latency of a word runs from the frame that holds its last sample', () => {
  const sentMs = Float64Array.from([100, 200, 300, 400, 0, 0]);
  const latency = (endSeconds: number): number => wordLatencySeconds(endSeconds, 1300, sentMs, 4, 0.1);
  assert.equal(latency(0.05), 1.2);
  assert.equal(latency(0.1), 1.2);
  assert.equal(latency(0.11), 1.1);
  assert.equal(latency(0.3), 1);
  // A word cannot end in audio that was not sent: rounding, or a system that pads
  assert.equal(latency(7), 0.9);
  assert.equal(latency(0), 1.2);
});

test('words of a segment are spread evenly over it', () => {
  assert.deepEqual(spreadWords(' one two  three four ', 10, 12), [
    { word: 'one', endSeconds: 10.5 },
    { word: 'two', endSeconds: 11 },
    { word: 'three', endSeconds: 11.5 },
    { word: 'four', endSeconds: 12 },
  ]);
  assert.deepEqual(spreadWords('  ', 1, 2), []);
});

test('quantiles are values that occurred, and of nothing there are none', () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.deepEqual(quantiles(values), { count: 100, p50: 50, p95: 95, p99: 99, max: 100 });
  assert.deepEqual(quantiles([]), { count: 0, p50: null, p95: null, p99: null, max: null });
});

test('speech begins where it is loud', () => {
  const pcm = new Int16Array(16_000);
  assert.equal(firstSpeechSample(pcm), 0);
  pcm.fill(3000, 8000);
  assert.equal(firstSpeechSample(pcm), 8000);
});

const GOOD: StepFigures = { streams: 8, refused: 0, lost: 0, p95Seconds: 5.4, werPercent: 5.5, referenceWerPercent: 5 };

test('a step is held when nobody is refused or lost, words are in time, and errors are those of each stream alone', () => {
  assert.ok(isHeld(GOOD, 5));
  const broken: Partial<StepFigures>[] = [
    { refused: 1 },
    { lost: 1 },
    { p95Seconds: 7 },
    { p95Seconds: null },
    { werPercent: 5.6 },
    { werPercent: null },
    { referenceWerPercent: null },
  ];
  for (const change of broken) assert.ok(!isHeld({ ...GOOD, ...change }, 5), JSON.stringify(change));
  assert.ok(isHeld({ ...GOOD, p95Seconds: 6.99, werPercent: 3 }, 5));
  const steps = [1, 2, 4, 8].map((streams) => ({ streams, held: streams !== 8 }));
  assert.equal(largestHeld(steps), 4);
  assert.equal(largestHeld([]), 0);
});

test('a system is tried no further when it is far out', () => {
  assert.ok(!isFarOut({ ...GOOD, refused: 4, p95Seconds: 29 }));
  for (const change of [{ refused: 5 }, { p95Seconds: 31 }, { p95Seconds: null }]) assert.ok(isFarOut({ ...GOOD, ...change }));
});

test('use is taken from the samples around a span', () => {
  const usage = [0, 1000, 2000, 3000].map((atMs) => ({ atMs, cpuSeconds: atMs / 2000, busySeconds: atMs / 1000, residentBytes: 0 }));
  assert.deepEqual(usedBetween(usage, 500, 1500), { cpuSeconds: 1, busySeconds: 2 });
});

test('a trend compares the ends and leaves out the first minute of many', () => {
  assert.deepEqual(trend([9, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]), { first: 5, last: 5, perHour: 0 });
  assert.deepEqual(trend([1, 2]), { first: 1, last: 2, perHour: 60 });
  assert.equal(
    slope([
      [0, 1],
      [1, 3],
      [2, 5],
    ]),
    2,
  );
});

const STREAM: StreamReport = {
  index: 0,
  state: 'done',
  refusal: null,
  failure: null,
  audioSeconds: 120,
  text: 'a b',
  wordLatencySeconds: [],
  wordReceivedMs: [],
  firstTextSeconds: 1,
  partials: 0,
  gaps: 0,
  lastTextMs: null,
};

function loadOf(streams: readonly Partial<StreamReport>[], startedMs: number, endMs: number): LoadReport {
  const usage = [];
  for (let atMs = startedMs; atMs <= endMs; atMs += 1000) {
    const seconds = (atMs - startedMs) / 1000;
    usage.push({ atMs, cpuSeconds: seconds / 2, busySeconds: seconds, residentBytes: (100 + Math.floor(seconds / 60)) * 2 ** 20 });
  }
  const lateMs = { p95: 0, max: 0 };
  return { streams: streams.map((stream) => ({ ...STREAM, ...stream })), startedMs, firstRefusalMs: null, cpuSeconds: 0, lateMs, usage };
}

test('an overload counts the admitted by the words that came under full load, and the refused by their answers', () => {
  const refused = (reason: string, afterMs: number, retryAfterSeconds: number | null): Partial<StreamReport> => ({
    state: 'refused',
    refusal: { reason, afterMs, retryAfterSeconds },
  });
  const phase = phaseOf(
    loadOf(
      [
        { wordLatencySeconds: [9, 4, 5], wordReceivedMs: [1000, 2000, 3000] },
        { state: 'lost', wordLatencySeconds: [6], wordReceivedMs: [2500], gaps: null },
        refused('503', 4, 5),
        refused('1013', 8, null),
        { state: 'absent' },
      ],
      0,
      5000,
    ),
    2000,
  );
  assert.deepEqual(phase, {
    offered: 4,
    admitted: 2,
    refused: 2,
    lost: 1,
    wordFinalSeconds: { count: 3, p50: 5, p95: 6, p99: 6, max: 6 },
    refusalMs: { count: 2, p50: 4, p95: 8, p99: 8, max: 8 },
    refusals: { '503': 1, '1013': 1 },
    withRetryAfter: 1,
    gaps: 0,
  });
});

test('a soak is cut into whole minutes by when words came', () => {
  const words = { wordLatencySeconds: [1, 2, 3, 4], wordReceivedMs: [10_000, 69_999, 70_000, 140_000] };
  const minutes = minutesOf(loadOf([words], 10_000, 135_000), 2);
  assert.deepEqual(
    minutes.map(({ minute, wordFinalSeconds, residentMB, cpuPerAudioSecond }) => [
      minute,
      wordFinalSeconds.max,
      residentMB,
      cpuPerAudioSecond,
    ]),
    [
      [1, 2, 101, 0.25],
      [2, 3, 102, 0.25],
    ],
  );
});

test('options name what is wrong with them', () => {
  const options = (...args: string[]) => {
    const parsed = parseCapacityOptions(args);
    assert.ok('options' in parsed);
    return parsed.options;
  };
  assert.ok('help' in parseCapacityOptions(['--help']));
  assert.deepEqual(options('--streams', '4,1,4').streams, [1, 4]);
  assert.deepEqual(options('--server-arg=--max-sessions=4').serverArgs, ['--max-sessions=4']);
  assert.equal(options('--overload', '2').mode, 'overload');
  assert.throws(() => options('--streams', '0'), /--streams: got 0/);
  assert.throws(() => options('--systems', 'theirs'), /theirs is none of ours, ray, naive, whisperlive/);
  assert.throws(() => options('--soak', '30'), /give --streams one number/);
  assert.throws(() => options('--soak', '1', '--overload', '2'), /give one of them/);
});

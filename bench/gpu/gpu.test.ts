// The arithmetic of a GPU run: what a step reads, how time is divided, which numbers of streams are tried, and texts of a known length.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { WindowSession } from '../../src/engine/window-session.ts';
import { readModelConfig } from '../../src/model/config.ts';
import { openWeights } from '../../src/model/weights.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { SAMPLE_RATE } from '../capacity/plan.ts';
import { grantSeconds, type Stage } from './budget.ts';
import { runChild } from './child.ts';
import { largestInTime, nextCount, type Rung, startCount } from './ladder.ts';
import { parseGpu } from './machine.ts';
import { START_TOKENS, TEXT_LENGTH, windowGraph } from './model-folder.ts';
import { parseGpuOptions } from './options.ts';
import { writeRandomModel } from './random-model.ts';
import { TEXT_TOKENS } from './random-tokenizer.ts';
import { readRecording, typicalWindow } from './recorded.ts';
import { requestOf, schedule } from './replay.ts';
import { parameterCount, SHAPE_NAMES, shapeOf } from './shapes.ts';
import { playFor } from './speech.ts';
import { statedBandwidth, stepBytes } from './traffic.ts';

const root = mkdtempSync(join(tmpdir(), 'gpu-bench-'));
after(() => rmSync(root, { recursive: true }));

test('the shapes have as many parameters as the models that they are named after', () => {
  const millions = (name: (typeof SHAPE_NAMES)[number]): number => Math.round(parameterCount(shapeOf(name)) / 1e6);
  assert.deepEqual(
    ['tiny', 'base', 'small', 'large-v3', 'large-v3-turbo', 'distil-large-v3'].map((name) => millions(name as 'tiny')),
    [38, 73, 242, 1543, 809, 756],
  );
  for (const name of SHAPE_NAMES) {
    const { alignmentHeads, decoderLayers, heads } = shapeOf(name);
    for (const [layer, head] of alignmentHeads) assert.ok(layer < decoderLayers && head < heads, `${name}: ${layer}, ${head}`);
  }
});

test('a step reads its weights once, and caches for each window', () => {
  const turbo = shapeOf('large-v3-turbo');
  const sizes = { batch: 1, positions: 650, past: 26 };
  const one = stepBytes(turbo, 'float16', sizes);
  // Four layers of 14 matrices of 1280 x 1280, and a vocabulary of 51866: 91.8 + 66.4 million values of 2 bytes, and norms and biases.
  assert.equal(one.weights, 2 * (4 * (14 * 1280 ** 2 + 16 * 1280) + (51_866 + 2) * 1280));
  // Keys and values of four layers, and six heads' keys of 64 again.
  assert.equal(one.cross, 2 * 650 * (2 * 4 * 1280 + 6 * 64));
  assert.equal(one.self, 2 * 26 * 2 * 4 * 1280);
  assert.equal(one.total, one.weights + one.cross + one.self);
  const many = stepBytes(turbo, 'float16', { ...sizes, batch: 32 });
  assert.equal(many.weights, one.weights);
  assert.equal(many.total - many.weights, 32 * (one.total - one.weights));
  assert.equal(stepBytes(turbo, 'float32', sizes).total, 2 * one.total);
});

test('makers state a bandwidth by the name of the card, and of others nothing is known', () => {
  assert.deepEqual(
    ['NVIDIA H100 80GB HBM3', 'NVIDIA H200', 'NVIDIA H100 PCIe', 'NVIDIA A100-SXM4-80GB', 'NVIDIA L4', 'NVIDIA L40S', 'Tesla T4'].map(
      statedBandwidth,
    ),
    [3350, 4800, 2000, 2039, 300, 864, 320],
  );
  assert.equal(statedBandwidth('NVIDIA GeForce GTX 1050'), null);
  assert.deepEqual(parseGpu('NVIDIA L4, 580.65.06, 23034, 22500, 8.9\n'), {
    name: 'NVIDIA L4',
    driver: '580.65.06',
    memoryMiB: 23034,
    freeMiB: 22500,
    computeCapability: '8.9',
  });
  assert.equal(parseGpu('No devices were found\n'), null);
});

const stage = (wantedSeconds: number, leastSeconds: number, isExtra = false): Stage => ({
  name: 's',
  wantedSeconds,
  leastSeconds,
  isExtra,
});

test('a stage gets what it wants while the others keep their least, and extras get what is left over', () => {
  const stages = [stage(100, 20), stage(100, 30), stage(500, 10, true)];
  assert.equal(grantSeconds(stages, 480), 100);
  assert.equal(grantSeconds(stages, 90), 60);
  assert.equal(grantSeconds(stages, 40), 20);
  assert.equal(grantSeconds(stages, 19), null);
  assert.equal(grantSeconds(stages.slice(2), 200), 200);
  assert.equal(grantSeconds([], 200), null);
});

test('granted times never come to more than there is, whatever the stages take of them', () => {
  const stages = [stage(20, 8), stage(25, 15), stage(90, 40), stage(150, 70), stage(110, 35), stage(200, 60, true)];
  for (let budget = 10; budget < 700; budget += 7) {
    for (const share of [0.3, 1]) {
      let remaining = budget;
      for (let at = 0; at < stages.length; at++) {
        const granted = grantSeconds(stages.slice(at), remaining);
        if (granted === null) continue;
        assert.ok(granted <= remaining && granted >= stages[at]!.leastSeconds && granted <= stages[at]!.wantedSeconds);
        remaining -= share * granted;
      }
      assert.ok(remaining >= 0);
    }
  }
});

/** All numbers that are tried of a service that holds so many. */
function climb(holds: number, start: number, most = 4096): number[] {
  const rungs: Rung[] = [];
  for (;;) {
    const streams = nextCount(rungs, start, most);
    if (streams === null) break;
    rungs.push({ streams, inTime: streams <= holds });
  }
  assert.ok(largestInTime(rungs) <= holds);
  return rungs.map(({ streams }) => streams);
}

test('streams are doubled until they are too many, then the gap is halved until it is small', () => {
  assert.deepEqual(climb(100, 16), [16, 32, 64, 128, 96, 112, 104]);
  assert.deepEqual(climb(3, 8), [8, 4, 2, 3]);
  assert.deepEqual(climb(0, 4), [4, 2, 1]);
  assert.deepEqual(climb(1e9, 512, 2000), [512, 1024, 2000]);
  for (let holds = 1; holds < 300; holds++) {
    const held = Math.max(...climb(holds, 16).filter((streams) => streams <= holds));
    assert.ok(held > holds / 1.16 - 1, `${held} of ${holds}`);
  }
  assert.deepEqual([0, 1, 5, 1000].map(startCount), [1, 1, 3, 600]);
  // Where the prediction holds, the answer is close after three numbers.
  assert.deepEqual(climb(1000, startCount(1000)).slice(0, 3), [600, 1200, 900]);
});

test('a recorded window is asked for as a session asks, with as many tokens left as it was long', () => {
  const [windows] = readRecording().streams;
  const request = requestOf(windows![1]!);
  assert.equal(request.pcm.length, Math.round(windows![1]!.seconds * 16_000));
  assert.equal(request.prefix!.length, 25 - windows![1]!.tokens);
  assert.equal(requestOf({ ...windows![1]!, tokens: 60 }).prefix!.length, 0);
  const typical = typicalWindow(readRecording());
  assert.ok(typical.seconds > 5 && typical.seconds < 12 && typical.everySeconds > 2.5 && typical.everySeconds < 5);
  assert.ok(typical.tokens > 5 && typical.tokens + typical.prefixTokens <= 30);
});

test('a replayed stream sends as many windows as it was recorded with, from a place of its own', () => {
  const seconds = 600;
  const { everySeconds } = typicalWindow(readRecording());
  const counts = Array.from({ length: 32 }, (_, stream) => [...schedule(stream, seconds)]);
  for (const sent of counts) {
    for (const [i, { dueSeconds }] of sent.entries()) {
      assert.ok(dueSeconds >= 0 && dueSeconds < seconds);
      assert.ok(i === 0 || dueSeconds > sent[i - 1]!.dueSeconds);
    }
  }
  const mean = counts.reduce((sum, sent) => sum + sent.length, 0) / counts.length;
  assert.ok(Math.abs(mean - seconds / everySeconds) < 0.15 * (seconds / everySeconds), `${mean}`);
  assert.equal(new Set(counts.map(([first]) => first!.dueSeconds)).size, counts.length);
});

test('random weights are a model to the service: sizes, tokens, alignment heads, values of the order of 1', async () => {
  for (const name of ['toy', 'distil-large-v3'] as const) {
    const dir = join(root, name);
    const layers = { encoderLayers: 1, decoderLayers: 2 };
    writeRandomModel(dir, { ...shapeOf(name), ...layers }, 28);
    assert.deepEqual(await readModelConfig(dir), { ...shapeOf(name), ...layers });
    const { special, splitWords } = await loadTokenizer(dir, { multilingual: true });
    const languages = name === 'toy' ? 99 : 100;
    assert.deepEqual(
      [special.endOfText, special.startOfTranscript, special.languageTokens.size, special.noTimestamps],
      [50_257, 50_258, languages, 50_264 + languages],
    );
    assert.equal(special.timestampBegin + 1501, shapeOf(name).vocabularySize);
    assert.ok(splitWords([1, 2, 4, 5], 'en').length > 1);
    const weights = await openWeights(dir);
    for (const [tensor, deviation] of [
      ['encoder.layers.0.fc1.weight', 1 / Math.sqrt(shapeOf(name).width)],
      ['decoder.layers.1.encoder_attn.k_proj.weight', 1 / Math.sqrt(shapeOf(name).width)],
    ] as const) {
      const values = weights.read(tensor);
      const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
      assert.ok(Math.abs(Math.sqrt(variance) / deviation - 1) < 0.02, tensor);
    }
    weights.close();
  }
});

test('a text of random weights ends when it and its prefix are as long as planned', async () => {
  const job = { from: 'sources', device: 'cpu', model: 'toy', modelDir: null, precision: 'float32', workDir: root } as const;
  // Not the folder of the test above, whose model has other sizes.
  const { path, config } = await windowGraph({ ...job, workDir: join(root, 'texts') });
  const session = await WindowSession.load(path, config, 'cpu', 1);
  const mask = new Float32Array(config.vocabularySize);
  const pcm = Float32Array.from({ length: 100 * 320 }, (_, i) => 0.1 * Math.sin(i * 0.1));
  const windows = [0, 9, TEXT_LENGTH - 1].map((prefixTokens) => ({
    pcm,
    job: {
      initial: Array.from({ length: START_TOKENS + prefixTokens }, (_, i) => 1000 + 97 * i),
      startIndex: 0,
      alignIndex: START_TOKENS - 1,
      mask,
      firstMask: mask,
      limit: 100,
      temperature: 0,
      random: () => 0,
      cancelled: () => false,
    },
  }));
  const { texts } = await session.decode(windows, { beams: 1, endOfText: TEXT_TOKENS, noSpeech: TEXT_TOKENS + 1 });
  await session.close();
  assert.deepEqual(
    texts.map(({ ended, tokens }) => [ended, tokens.length]),
    [
      [true, TEXT_LENGTH],
      [true, TEXT_LENGTH - 9],
      [true, 1],
    ],
  );
  for (const { alignment, logProbabilities } of texts) assert.ok([...alignment, ...logProbabilities].every(Number.isFinite));
});

test('a served stream plays its clips round and round, for exactly so long', () => {
  const clips = [3, 5].map((seconds) => ({ name: '', pcmFile: String(seconds), sampleCount: seconds * SAMPLE_RATE, text: '' }));
  const { parts, sampleCount } = playFor(clips, 1, 12);
  assert.equal(sampleCount, 12 * SAMPLE_RATE);
  assert.deepEqual(
    parts.map(({ pcmFile, startSample, sampleCount: count }) => [
      pcmFile,
      startSample / SAMPLE_RATE,
      Number((count / SAMPLE_RATE).toFixed(3)),
    ]),
    [
      ['5', 0, 5],
      ['3', 5.8, 3],
      ['5', 9.6, 2.4],
    ],
  );
});

test('options name what is wrong with them', () => {
  const options = parseGpuOptions(['--models', 'base,small', '--skip-peer', '--batches', '8,1,8'], '/results');
  assert.deepEqual([options.models, options.batches, options.out], [['base', 'small'], [1, 8], '/results']);
  assert.deepEqual(options.measures, ['scaling', 'served', 'streams']);
  assert.deepEqual(options.precisions, ['float16', 'float32']);
  assert.deepEqual(parseGpuOptions(['--device', 'cpu', '--out', 'x'], '/results').precisions, ['float32']);
  for (const [args, message] of [
    [['--device', 'rocm'], /--device: rocm is none of cuda, webgpu, cpu/],
    [['--models', 'medium'], /--models: medium is none of toy/],
    [['--device', 'cpu', '--precisions', 'float16'], /float16 is none of float32/],
    [['--budget-seconds', '5'], /--budget-seconds: got 5, expected seconds, at least 30/],
    [['--rung-seconds', '2'], /at least 8/],
    [['--engines', '0'], /--engines: got 0/],
    [['--nonsense'], /nonsense/],
  ] as const) {
    assert.throws(() => parseGpuOptions(args, undefined), message);
  }
});

test('what a process said counts, though it fails, is late or is told to stop', async () => {
  const { signal } = new AbortController();
  const said = async (script: string, timeoutSeconds = 20, stop = signal) => {
    const lines: { kind: string }[] = [];
    const child = { command: process.execPath, args: ['-e', script], timeoutSeconds, signal: stop };
    const { problem } = await runChild(child, (line) => lines.push(line));
    return [lines.map(({ kind }) => kind), problem] as const;
  };
  const say = (kind: string): string => `console.log(JSON.stringify({ kind: '${kind}', reason: 'no memory' }));`;
  assert.deepEqual(await said(`console.log('noise'); ${say('a')} ${say('done')}`), [['a'], null]);
  assert.deepEqual(await said(`${say('a')} ${say('failed')}`), [['a'], 'no memory']);
  const [lines, problem] = await said(`${say('a')} throw new Error('broken');`);
  assert.deepEqual(lines, ['a']);
  assert.match(problem ?? '', /ended with 1: .*broken/s);
  assert.deepEqual(await said(`${say('a')} setInterval(() => {}, 1000);`, 1.5), [['a'], 'stopped after 2 s']);
  assert.match((await said('', 20, AbortSignal.abort()))[1] ?? '', /stopped/);
  assert.match((await runChild({ command: '/no/such/program', args: [], timeoutSeconds: 5, signal }, () => {})).problem ?? '', /ENOENT/);
});

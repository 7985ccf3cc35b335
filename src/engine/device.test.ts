// Which device is taken: wishes that are met, wishes that cannot be, and the measured way back to the processor.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseDevice, type DeviceWish, probeDevice } from './device.ts';
import type { ProbedDevice, ProbeReport } from './device-probe-worker.ts';

const found = (float32: number, float16: number | null, processor = 100): ProbeReport => ({
  problem: null,
  isAbsent: false,
  gigaflops: { float32, float16, processor },
});
const missing = (problem: string, isAbsent = true): ProbeReport => ({ ...found(0, null, 0), problem, isAbsent });

async function choose(device: DeviceWish['device'], precision: DeviceWish['precision'], report: ProbeReport, hasNvidiaGpu = false) {
  const messages: string[] = [];
  const probed: ProbedDevice[] = [];
  const probe = async (name: ProbedDevice): Promise<ProbeReport> => {
    probed.push(name);
    return report;
  };
  const onMessage = (message: string): void => void messages.push(message);
  const choice = await chooseDevice({ device, precision }, onMessage, { probe, hasNvidiaGpu: () => hasNvidiaGpu });
  return { choice, messages, probed };
}

const FAST = found(5000, 20_000);

test('auto takes CUDA where it is faster than the processor, and says how much', async () => {
  const { choice, messages, probed } = await choose('auto', 'auto', FAST);
  assert.deepEqual(choice, { device: 'cuda', precision: 'float16' });
  assert.deepEqual(probed, ['cuda']);
  assert.deepEqual(messages, [
    'Computing on cuda in float16: 5000 billion operations a second in float32, 20000 in float16, the processor 100.',
  ]);
});

test('auto takes the processor where there is no GPU, without a word', async () => {
  const { choice, messages } = await choose('auto', 'auto', missing('there is no NVIDIA GPU'));
  assert.deepEqual([choice, messages], [{ device: 'cpu', precision: 'int8' }, []]);
});

test('auto says so where there is a GPU that cannot be used for want of something', async () => {
  const { choice, messages } = await choose('auto', 'auto', missing("onnxruntime's CUDA files are not installed"), true);
  assert.deepEqual(choice, { device: 'cpu', precision: 'int8' });
  assert.deepEqual(messages, [
    "cuda: onnxruntime's CUDA files are not installed; docs/gpu.md tells what it needs; computing on the processor.",
  ]);
});

test('auto takes the processor where the GPU fails or is slower, and says why', async () => {
  const broken = await choose('auto', 'auto', missing('it computes wrong results: 1 instead of 2', false));
  assert.deepEqual(broken.choice, { device: 'cpu', precision: 'int8' });
  assert.deepEqual(broken.messages, ['cuda: it computes wrong results: 1 instead of 2; computing on the processor.']);
  const slow = await choose('auto', 'float32', found(12.34, 20));
  assert.deepEqual(slow.choice, { device: 'cpu', precision: 'float32' });
  assert.deepEqual(slow.messages, [
    'The cuda device is slower than the processor (12 billion operations a second in float32, 20 in float16, the processor 100); computing on the processor.',
  ]);
});

test('a device that was asked for is taken even where it is slow, with a warning', async () => {
  const { choice, messages } = await choose('webgpu', 'auto', found(0.2, null));
  assert.deepEqual(choice, { device: 'webgpu', precision: 'float32' });
  assert.match(messages[1] as string, /slower than the processor \(0\.2 billion.*--device cpu/);
});

test('a device that was asked for and cannot be had is an error that says what is missing', async () => {
  await assert.rejects(choose('cuda', 'auto', missing("onnxruntime's CUDA files are not installed")), {
    code: 'device_unavailable',
    message: "--device cuda: onnxruntime's CUDA files are not installed; docs/gpu.md tells what it needs.",
  });
  await assert.rejects(choose('webgpu', 'auto', missing('it computes wrong results: NaN instead of 1', false)), {
    code: 'device_unavailable',
    message: '--device webgpu: it computes wrong results: NaN instead of 1.',
  });
});

test('precisions belong to devices', async () => {
  const wrong = [
    ['cpu', 'float16', /--precision float16: .*processor/],
    ['cuda', 'int8', /--precision int8: cuda computes in float16 or float32/],
    ['webgpu', 'int8', /--precision int8/],
  ] as const;
  for (const [device, precision, message] of wrong)
    await assert.rejects(choose(device, precision, FAST), { code: 'device_unavailable', message });
  await assert.rejects(choose('webgpu', 'float16', found(5000, null)), { code: 'device_unavailable', message: /does not compute in it/ });
  assert.deepEqual((await choose('cuda', 'float32', FAST)).choice, { device: 'cuda', precision: 'float32' });
});

test('the processor is not probed for, nor a GPU where only int8 will do', async () => {
  for (const [device, precision] of [
    ['cpu', 'auto'],
    ['cpu', 'float32'],
    ['auto', 'int8'],
  ] as const)
    assert.deepEqual((await choose(device, precision, FAST)).probed, []);
});

test('this machine is asked for real: what it says is a speed or a reason', async () => {
  for (const device of ['cuda', 'webgpu'] as const) {
    const { gigaflops, problem } = await probeDevice(device);
    if (problem === null) assert.ok(gigaflops.float32 > 0 && gigaflops.processor > 0, device);
    else assert.ok(problem.length > 10, `${device}: ${problem}`);
  }
});

// What engines compute on: which devices there are, whether they work, and how fast they are beside the processor.

import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { WhisperError } from '../core/errors.ts';
import type { GraphForm } from '../model/build-graphs.ts';
import type { Precision } from '../model/graph-layers.ts';
import type { ProbedDevice, ProbeReport } from './device-probe-worker.ts';
import { spawnWorker } from './spawn-worker.ts';

/** `cuda`: NVIDIA; `webgpu`: any vendor, through the driver's Vulkan, Metal or Direct3D. */
export type Device = 'cpu' | 'cuda' | 'webgpu';

/** The graphs that a device computes best, and correctly. */
export const GRAPH_FORMS = { cpu: 'steps', cuda: 'windows', webgpu: 'windows-composed' } as const satisfies Record<Device, GraphForm>;

export interface DeviceWish {
  /** `auto` takes CUDA where it works and is faster than the processor, else the processor. */
  readonly device: Device | 'auto';
  /** `auto`: int8 on the processor, float16 on a device that has it, else float32. */
  readonly precision: Precision | 'auto';
}

export interface DeviceChoice {
  readonly device: Device;
  readonly precision: Precision;
}

/** What `chooseDevice` knows of the machine; tests have their own. */
export interface Machine {
  readonly probe: (device: ProbedDevice) => Promise<ProbeReport>;
  /** Whether the system knows of a GPU of NVIDIA's, whatever else is installed. */
  readonly hasNvidiaGpu: () => boolean;
}

/**
 * Rejects with `device_unavailable` where a wish cannot be met, naming what is missing.
 * @param onMessage told what was found, and why the processor is taken where it was not wished for
 */
export async function chooseDevice(
  wish: DeviceWish,
  onMessage: (message: string) => void = () => {},
  machine: Machine = THIS_MACHINE,
): Promise<DeviceChoice> {
  if (wish.device === 'cpu') return onProcessor(wish);
  // Nothing is asked of a device that could not be used with this precision anyway.
  if (wish.device === 'auto' && wish.precision === 'int8') return onProcessor(wish);
  const device = wish.device === 'auto' ? 'cuda' : wish.device;
  const found = await machine.probe(device);
  const problem = problemOf(device, found);
  if (wish.device === 'auto') {
    // A machine without a GPU is the usual case, and no news.
    if (found.isAbsent && !machine.hasNvidiaGpu()) return onProcessor(wish);
    if (problem !== null || isSlow(found)) {
      onMessage(`${problem === null ? slowness(device, found) : `${device}: ${problem}`}; computing on the processor.`);
      return onProcessor(wish);
    }
  } else if (problem !== null) {
    throw new WhisperError('device_unavailable', `--device ${device}: ${problem}.`);
  }
  const precision = precisionOn(device, wish, found);
  onMessage(`Computing on ${device} in ${precision}: ${speeds(found)}.`);
  if (isSlow(found)) onMessage(`${slowness(device, found)}: --device cpu may do better.`);
  return { device, precision };
}

function onProcessor({ precision }: DeviceWish): DeviceChoice {
  if (precision === 'float16')
    throw new WhisperError('device_unavailable', '--precision float16: the processor computes in int8 or float32; float16 is for GPUs.');
  return { device: 'cpu', precision: precision === 'auto' ? 'int8' : precision };
}

function precisionOn(device: Device, wish: DeviceWish, { gigaflops }: ProbeReport): Precision {
  if (wish.precision === 'int8')
    throw new WhisperError('device_unavailable', `--precision int8: ${device} computes in float16 or float32; int8 is for the processor.`);
  if (wish.precision === 'float16' && gigaflops.float16 === null)
    throw new WhisperError('device_unavailable', `--precision float16: this ${device} device does not compute in it.`);
  return wish.precision === 'auto' ? (gigaflops.float16 === null ? 'float32' : 'float16') : wish.precision;
}

/** A device computes one matrix after the other, as a model does, at least as fast as the processor, or is not worth its trouble. */
const isSlow = ({ gigaflops }: ProbeReport): boolean => Math.max(gigaflops.float32, gigaflops.float16 ?? 0) < gigaflops.processor;

const slowness = (device: Device, report: ProbeReport): string => `The ${device} device is slower than the processor (${speeds(report)})`;

function speeds({ gigaflops: { float16, float32, processor } }: ProbeReport): string {
  const halves = float16 === null ? '' : `, ${rounded(float16)} in float16`;
  return `${rounded(float32)} billion operations a second in float32${halves}, the processor ${rounded(processor)}`;
}

const rounded = (value: number): string => String(Number(value.toPrecision(2)));

function problemOf(device: ProbedDevice, { isAbsent, problem }: ProbeReport): string | null {
  if (problem === null) return null;
  const hint = { cuda: 'docs/gpu.md tells what it needs', webgpu: "it needs the graphics driver's Vulkan, Metal or Direct3D 12" }[device];
  return isAbsent ? `${problem}; ${hint}` : problem;
}

/** Device files of the driver on Linux, and in Windows' subsystem for it. */
const NVIDIA_DEVICES = ['/dev/nvidiactl', '/dev/dxg'];

const THIS_MACHINE: Machine = { probe: probeDevice, hasNvidiaGpu: () => NVIDIA_DEVICES.some((path) => existsSync(path)) };

/** Runs the probe on a thread of its own, which ends with it. */
export async function probeDevice(device: ProbedDevice): Promise<ProbeReport> {
  if (device === 'cuda' && !hasCudaFiles()) return NO_CUDA_FILES;
  const worker = spawnWorker('device-probe-worker', { device });
  const [report] = (await once(worker, 'message')) as [ProbeReport];
  await once(worker, 'exit');
  return report;
}

const NO_CUDA_FILES: ProbeReport = {
  problem: "onnxruntime's CUDA files are not installed",
  isAbsent: true,
  gigaflops: { float32: 0, float16: null, processor: 0 },
};

/** Whether onnxruntime-node's folder holds the provider, which is downloaded apart; asking onnxruntime for what is not there would be logged. */
function hasCudaFiles(): boolean {
  const bin = join(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')), '..', 'bin');
  return readdirSync(bin).some((napi) => {
    const dir = join(bin, napi, platform(), arch());
    return existsSync(dir) && readdirSync(dir).some((file) => file.includes('onnxruntime_providers_cuda'));
  });
}

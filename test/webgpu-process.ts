// A process of its own that computes on WebGPU: node --import tsx test/webgpu-process.ts GRAPH_DIR MODEL_DIR. Prints what it found as JSON.

import { join } from 'node:path';
import { createTranscriber } from '../src/engine/create.ts';
import { chooseDevice, type Device, probeDevice } from '../src/engine/device.ts';
import { SAMPLES_PER_POSITION } from '../src/engine/model-session.ts';
import { WindowSession } from '../src/engine/window-session.ts';
import { writeWindowGraph } from '../src/model/window-graph.ts';
import { fakeWeights, toyConfig } from './toy-model.ts';

const [graphDir = '', modelDir = ''] = process.argv.slice(2);
const config = toyConfig({ width: 128 });
const graph = join(graphDir, 'windows.onnx');
writeWindowGraph(graph, fakeWeights(config, 'random'), config, { encoder: 'float32', decoder: 'float32' }, 'composed');

const LENGTHS = [60, 100];

/** Two windows of different lengths behind different numbers of forced tokens. */
async function decode(device: Device, beams: number) {
  const session = await WindowSession.load(graph, config, device, 1);
  const mask = new Float32Array(config.vocabularySize);
  const windows = LENGTHS.map((positions, w) => {
    const pcm = new Float32Array((positions + 25) * SAMPLES_PER_POSITION);
    for (let i = 0; i < positions * SAMPLES_PER_POSITION; i++) pcm[i] = 0.3 * Math.sin(i * (0.05 * (w + 1) + i * 1e-6));
    const initial = [7, 45, 46].slice(0, w + 2);
    const job = {
      initial,
      startIndex: 0,
      alignIndex: 0,
      mask,
      firstMask: mask,
      limit: 6,
      temperature: 0,
      random: () => 0,
      cancelled: () => false,
    };
    return { pcm, job };
  });
  const { texts } = await session.decode(windows, { beams, endOfText: -1, noSpeech: 299 });
  await session.close();
  return texts.map(({ alignment, logProbabilities, noSpeechProbability, tokens }) => ({
    tokens,
    logProbabilities,
    noSpeechProbability,
    alignment: [...alignment],
  }));
}

/** The whole engine on its thread, on a model that ends its texts after a token. */
async function transcribe(device: Device) {
  const transcriber = await createTranscriber({
    modelDir,
    graphsDir: join(graphDir, 'graphs'),
    device,
    precision: 'float32',
    engines: 1,
    maxBatch: 1,
  });
  const pcm = Float32Array.from({ length: 16_000 }, (_, i) => 0.3 * Math.sin(i * 0.05));
  const { words } = await transcriber.transcribe({ pcm, language: 'en' });
  await transcriber.close();
  return words.map(({ text, tokens }) => ({ text, tokens }));
}

const messages: string[] = [];
const onMessage = (message: string): void => void messages.push(message);
console.log(
  JSON.stringify({
    probe: await probeDevice('webgpu'),
    choice: await chooseDevice({ device: 'webgpu', precision: 'auto' }, onMessage),
    messages,
    decoded: {
      cpu: [await decode('cpu', 1), await decode('cpu', 3)],
      webgpu: [await decode('webgpu', 1), await decode('webgpu', 3)],
    },
    heard: { cpu: await transcribe('cpu'), webgpu: await transcribe('webgpu') },
  }),
);

// A process of its own that computes on WebGPU: node --import tsx test/webgpu-process.ts GRAPH_DIR MODEL_DIR. Prints what it found as JSON.

import { join } from 'node:path';
import { createTranscriber } from '../src/engine/create.ts';
import { chooseDevice, type Device, probeDevice } from '../src/engine/device.ts';
import { SAMPLES_PER_POSITION } from '../src/engine/positions.ts';
import { WindowSession } from '../src/engine/window-session.ts';
import { writeWindowGraph } from '../src/model/window-graph.ts';
import { fakeWeights, toyConfig } from './toy-model.ts';

const [graphDir = '', modelDir = ''] = process.argv.slice(2);
const config = toyConfig({ width: 128 });
const graph = join(graphDir, 'windows.onnx');
writeWindowGraph(graph, fakeWeights(config, 'random'), config, 'float32', 'composed');

const LENGTHS = [25, 40];

/** Two windows of different lengths behind different numbers of forced tokens, greedy and then with beams. */
async function decode(device: Device) {
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
      limit: 4,
      temperature: 0,
      random: () => 0,
      cancelled: () => false,
    };
    return { pcm, job };
  });
  const texts = [];
  for (const beams of [1, 3]) texts.push(...(await session.decode(windows, { beams, endOfText: -1, noSpeech: 299 })).texts);
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
    // The driver takes its time for each second.
    rules: { marginSeconds: 1 },
  });
  const pcm = Float32Array.from({ length: 8000 }, (_, i) => 0.3 * Math.sin(i * 0.05));
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
    decoded: { cpu: await decode('cpu'), webgpu: await decode('webgpu') },
    heard: { cpu: await transcribe('cpu'), webgpu: await transcribe('webgpu') },
  }),
);

// The engine's thread: loads a model, answers requests. onnxruntime-node computes on the thread that calls it, so it gets one of its own.

import { parentPort, workerData } from 'node:worker_threads';
import { type ErrorCode, toWhisperError, WhisperError } from '../core/errors.ts';
import { type BuildOptions, buildGraphs, buildWindowGraph } from '../model/build-graphs.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { BatchEngine, isOutOfMemory } from './batch-engine.ts';
import { type Device, GRAPH_FORMS } from './device.ts';
import { Engine } from './engine.ts';
import type { EngineMessage, EngineReply } from './engine-messages.ts';
import { ModelSession } from './model-session.ts';
import type { DecodingRules } from './rules.ts';
import { WindowSession } from './window-session.ts';

/** What the thread is started with. */
export interface EngineWorkerData {
  /** Graphs are built here where they are missing: it takes seconds of computing. */
  readonly model: Omit<BuildOptions, 'onMessage'>;
  readonly device: Device;
  readonly threads: number;
  readonly maxBatch: number;
  /** Most encoder positions of a batch, on a device. */
  readonly maxPositions: number;
  readonly rules: DecodingRules;
}

const port = parentPort as NonNullable<typeof parentPort>;
const data = workerData as EngineWorkerData;
const reply = (message: EngineReply): void => port.postMessage(message);
const onMessage = (message: string): void => reply({ kind: 'starting', message });

try {
  await start();
} catch (error) {
  reply({ kind: 'broken', ...describe(error) });
  port.close();
}

/** The cause of an internal error goes to the owner's log: errors lose their class and code on the way between threads. */
function describe(error: unknown): { code: ErrorCode; message: string } {
  const { code, message } = toWhisperError(error);
  return { code, message: code === 'internal' ? String(error) : message };
}

async function start(): Promise<void> {
  const { modelDir, config } = data.model;
  const tokenizer = await loadTokenizer(modelDir, { multilingual: config.multilingual });
  serve(await (data.device === 'cpu' ? onProcessor(tokenizer) : onDevice(data.device, tokenizer)));
  reply({ kind: 'ready', languages: [...tokenizer.special.languageTokens.keys()] });
}

async function onProcessor(tokenizer: Tokenizer): Promise<Engine> {
  const graphs = await buildGraphs({ ...data.model, onMessage });
  const session = await ModelSession.load(graphs, data.model.config, data.threads);
  return new Engine(session, tokenizer, data);
}

async function onDevice(device: Exclude<Device, 'cpu'>, tokenizer: Tokenizer): Promise<BatchEngine> {
  const graph = await buildWindowGraph({ ...data.model, onMessage }, GRAPH_FORMS[device]);
  const session = await WindowSession.load(graph, data.model.config, device, data.threads).catch((cause: unknown) => {
    if (!isOutOfMemory(cause)) throw cause;
    throw new WhisperError('device_unavailable', `The ${device} device has too little free memory for the model.`, { cause });
  });
  return new BatchEngine(session, tokenizer, {
    ...data,
    onOutOfMemory: () => reply({ kind: 'out-of-memory' }),
    // Outside of every promise: the thread ends, and its owner hears why.
    onBroken: (error) =>
      setImmediate(() => {
        throw error;
      }),
  });
}

function serve(engine: Engine | BatchEngine): void {
  const cancels = new Map<number, () => void>();

  port.on('message', (message: EngineMessage) => {
    if (message.kind === 'close') {
      // The thread ends by having nothing left to wait for: ended from outside in the middle of a pass, it would take the process along.
      void engine.close().finally(() => port.close());
      return;
    }
    if (message.kind === 'cancel') {
      cancels.get(message.id)?.();
      cancels.delete(message.id);
      return;
    }
    const { id, request } = message;
    const { answer, cancel } = engine.submit(request);
    cancels.set(id, cancel);
    answer
      .then(
        ({ result, cost }) => reply({ kind: 'result', id, result, cost }),
        (error: unknown) => reply({ kind: 'failed', id, ...describe(error) }),
      )
      .finally(() => cancels.delete(id));
  });
}

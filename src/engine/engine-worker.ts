// The engine's thread: loads a model, answers requests. onnxruntime-node computes on the thread that calls it, so it gets one of its own.

import { parentPort, workerData } from 'node:worker_threads';
import { type ErrorCode, toWhisperError } from '../core/errors.ts';
import { type BuildOptions, buildGraphs } from '../model/build-graphs.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { Engine } from './engine.ts';
import type { EngineMessage, EngineReply } from './engine-messages.ts';
import { ModelSession } from './model-session.ts';
import type { DecodingRules } from './rules.ts';

/** What the thread is started with. */
export interface EngineWorkerData {
  /** Graphs are built here where they are missing: it takes seconds of computing. */
  readonly model: Omit<BuildOptions, 'onMessage'>;
  readonly threads: number;
  readonly maxBatch: number;
  readonly rules: DecodingRules;
}

const port = parentPort as NonNullable<typeof parentPort>;
const data = workerData as EngineWorkerData;
const reply = (message: EngineReply): void => port.postMessage(message);

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
  const graphs = await buildGraphs({ ...data.model, onMessage: (message) => reply({ kind: 'starting', message }) });
  const session = await ModelSession.load(graphs, config, data.threads);
  const tokenizer = await loadTokenizer(modelDir, { multilingual: config.multilingual });
  serve(new Engine(session, tokenizer, { rules: data.rules, maxBatch: data.maxBatch }));
  reply({ kind: 'ready', languages: [...tokenizer.special.languageTokens.keys()] });
}

function serve(engine: Engine): void {
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

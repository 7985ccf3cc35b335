// The engine's thread: loads a model, answers requests. onnxruntime-node computes on the thread that calls it, so it gets one of its own.

import { parentPort, workerData } from 'node:worker_threads';
import type { GraphFiles } from '../model/build-graphs.ts';
import type { ModelConfig } from '../model/config.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { Engine } from './engine.ts';
import type { EngineMessage, EngineReply } from './engine-messages.ts';
import { ModelSession } from './model-session.ts';
import type { DecodingRules } from './rules.ts';

/** What the thread is started with. */
export interface EngineWorkerData {
  readonly graphs: GraphFiles;
  readonly modelDir: string;
  readonly config: ModelConfig;
  readonly threads: number;
  readonly maxBatch: number;
  readonly rules: DecodingRules;
}

const port = parentPort as NonNullable<typeof parentPort>;
const data = workerData as EngineWorkerData;
const reply = (message: EngineReply): void => port.postMessage(message);

const session = await ModelSession.load(data.graphs, data.config, data.threads);
const tokenizer = await loadTokenizer(data.modelDir, { multilingual: data.config.multilingual });
const engine = new Engine(session, tokenizer, { rules: data.rules, maxBatch: data.maxBatch });
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
  const { result, cancel } = engine.submit(request);
  cancels.set(id, cancel);
  result
    .then(
      (value) => reply({ kind: 'result', id, result: value }),
      (error: unknown) => reply({ kind: 'failed', id, message: String(error) }),
    )
    .finally(() => cancels.delete(id));
});

reply({ kind: 'ready', languages: [...tokenizer.special.languageTokens.keys()] });

// Decodes windows that are encoded already in one batch, as the engine does but without its queue.

import type { CrossCache } from '../src/engine/caches.ts';
import type { DecodedText, DecodeJob } from '../src/engine/decode.ts';
import { DecodeBatch, type OnFinish } from '../src/engine/decode-batch.ts';
import type { ModelSession } from '../src/engine/model-session.ts';
import { SAMPLES_PER_POSITION } from '../src/engine/positions.ts';
import type { PrefillOptions } from '../src/engine/prefill.ts';

export interface BatchWindow {
  readonly pcm: Float32Array;
  readonly job: DecodeJob;
  /** Steps of the batch before this window joins it. @default 0 */
  readonly joinsAfter?: number;
}

/** @returns one result a window, null for cancelled ones */
export async function decodeTogether(
  session: ModelSession,
  windows: readonly BatchWindow[],
  options: PrefillOptions,
  onFinish?: (index: number, cross: CrossCache, place: number, result: DecodedText) => void,
  batch = new DecodeBatch(session, options),
): Promise<{ texts: (DecodedText | null)[]; accepted: number[] }> {
  const texts: (DecodedText | null)[] = windows.map(() => null);
  const accepted = windows.map(() => 0);
  const indices = new Map<unknown, number>();
  const finish: OnFinish = (window, place, read) => {
    const index = indices.get(window) as number;
    const result = read?.() ?? null;
    texts[index] = result;
    if (result !== null) onFinish?.(index, batch.cross, place, result);
  };
  const waiting = windows.map((window, index) => ({ ...window, index }));
  for (let step = 0; waiting.length > 0 || batch.windows.length > 0; step++) {
    for (const next of waiting.filter(({ joinsAfter = 0 }) => joinsAfter <= step)) {
      waiting.splice(waiting.indexOf(next), 1);
      const place = batch.cross.append(next.pcm.length / SAMPLES_PER_POSITION);
      await session.encode(next.pcm, batch.cross, place);
      const window = await batch.join(next.job);
      indices.set(window, next.index);
      accepted[next.index] = window.acceptedTokens;
    }
    await batch.leave(finish);
    if (batch.windows.length > 0) {
      await batch.step();
      await batch.leave(finish);
    }
  }
  return { texts, accepted };
}

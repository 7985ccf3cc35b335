// Whether the service takes work: starting until the model is warm, then ready, then draining.

import { WhisperError } from '../core/errors.ts';
import type { SpeechDetector, Transcriber, TranscriberLoad } from '../engine/transcriber.ts';
import type { Sleep } from '../streaming/retry.ts';

/** What transcribes; closed by whoever made it. */
export interface EngineParts {
  readonly transcriber: Transcriber;
  readonly speechDetector: SpeechDetector | null;
  /** Waits before work that failed is tried again. @default a timer */
  readonly sleep?: Sleep;
}

export interface Readiness {
  /** The warm engine. Throws WhisperError `not_ready` before, `going_away` while draining. */
  require(): EngineParts;
  /** What the engine measures, also while draining; null before it is there. */
  load(): TranscriberLoad | null;
  /** From now on nothing new is taken. */
  drain(): void;
}

/** A rejected promise leaves the service at `not_ready`; its maker hears of the rejection. */
export function createReadiness(engine: EngineParts | Promise<EngineParts>): Readiness {
  let parts: EngineParts | null = null;
  let draining = false;
  if (engine instanceof Promise) {
    engine.then(
      (warm) => {
        parts = warm;
      },
      () => undefined,
    );
  } else {
    parts = engine;
  }
  return {
    require() {
      if (draining) throw new WhisperError('going_away', 'The service is shutting down; connect again.', { retryAfterSeconds: 1 });
      if (parts === null) throw new WhisperError('not_ready', 'The model is not loaded yet.', { retryAfterSeconds: 5 });
      return parts;
    },
    load: () => parts?.transcriber.load() ?? null,
    drain() {
      draining = true;
    },
  };
}

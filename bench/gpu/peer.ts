// The same sizes in PyTorch's transformers, in a process of the machine's own Python; nothing is installed for it.

import { fileURLToPath } from 'node:url';
import { runChild } from './child.ts';
import type { GpuOptions } from './options.ts';
import { FORCED_TOKENS, POSITIONS, SCALING_WINDOW, type ScalingPoint } from './scaling.ts';
import { shapeOf } from './shapes.ts';

/** What it pads everything to, and what the service makes of a window. */
export const PEER_POSITIONS = [1500, POSITIONS] as const;
/** Fewer than ours: each takes its time. */
const PEER_BATCHES = [1, 8, 32] as const;

export interface PeerPoint extends Omit<ScalingPoint, 'kind'> {
  readonly kind: 'peer';
  readonly model: string;
  readonly positions: number;
  /** How transformers computes attention. */
  readonly attention: string;
}

export interface PeerResult {
  /** Null: it did not run, see `reason`. */
  versions: Readonly<Record<string, unknown>> | null;
  reason: string | null;
  readonly points: PeerPoint[];
  readonly stopped: string[];
}

type PeerReport =
  | { readonly kind: 'missing'; readonly reason: string }
  | ({ readonly kind: 'versions' } & Readonly<Record<string, unknown>>)
  | PeerPoint
  | { readonly kind: 'stopped'; readonly model: string; readonly positions: number; readonly batch: number; readonly reason: string };

/** @returns what went wrong; null: nothing, or it is not installed, which the result says */
export async function measurePeer(
  options: GpuOptions,
  { graceSeconds, seconds, signal }: { readonly seconds: number; readonly graceSeconds: number; readonly signal: AbortSignal },
  result: PeerResult,
  progress: (text: string) => void,
): Promise<string | null> {
  const job = {
    device: options.device,
    seconds,
    shapes: options.models.map(shapeOf),
    positions: PEER_POSITIONS,
    batches: PEER_BATCHES.filter((batch) => batch <= Math.max(...options.batches)),
    tokens: SCALING_WINDOW.tokens,
    forcedTokens: FORCED_TOKENS,
  };
  const script = fileURLToPath(new URL('transformers_peer.py', import.meta.url));
  const child = { command: options.python, args: [script, JSON.stringify(job)], timeoutSeconds: seconds + graceSeconds, signal };
  const { problem } = await runChild<PeerReport>(child, (line) => {
    if (line.kind === 'missing') result.reason = line.reason;
    else if (line.kind === 'stopped')
      result.stopped.push(`${line.model}, ${line.positions} positions, batch ${line.batch}: ${line.reason}`);
    else if (line.kind === 'versions') {
      const { kind: _, ...versions } = line;
      result.versions = versions;
    } else {
      result.points.push(line);
      progress(`transformers ${line.model}, ${line.positions} positions, batch ${line.batch}: ${line.windowMs.toFixed(2)} ms a window`);
    }
  });
  if (result.reason !== null) return null;
  if (problem !== null) result.reason = problem;
  return problem;
}

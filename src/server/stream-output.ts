// What goes to a stream's client, with an eye on how much of it waits unread.

import { WebSocket } from 'ws';
import type { ServerMessage } from '../protocol/stream-messages.ts';
import type { ServerLimits } from './limits.ts';
import type { ServerMetrics } from './metrics.ts';

export interface StreamOutput {
  /** Partials are dropped where the client is slow; false where it is so slow that it must be cut off. */
  send(message: ServerMessage): boolean;
}

export function createStreamOutput(
  socket: WebSocket,
  limits: Pick<ServerLimits, 'partialsStopBytes' | 'cutOffBytes'>,
  metrics: ServerMetrics,
): StreamOutput {
  return {
    send(message) {
      if (socket.readyState !== WebSocket.OPEN) return true;
      const waitingBytes = socket.bufferedAmount;
      if (waitingBytes > limits.cutOffBytes) return false;
      if (message.type === 'transcript' && !message.is_final && waitingBytes > limits.partialsStopBytes) {
        metrics.partialDropped();
        return true;
      }
      socket.send(JSON.stringify(message));
      if (message.type === 'transcript' || message.type === 'no_speech') metrics.eventSent(message);
      return true;
    },
  };
}

// A ws WebSocket that lets its owner speak before ws itself closes the connection for a protocol error.

import { WebSocket } from 'ws';
import { WhisperError } from '../core/errors.ts';

/**
 * The receiver of ws answers a message over maxPayload or a broken frame with `close(code)` before it emits the error. On this
 * wire an `error` event comes before every close frame, so the owner is asked at that moment.
 */
export class StreamSocket extends WebSocket {
  /** Called once, before the close frame of an error that ws found. */
  onProtocolError: ((error: WhisperError) => void) | null = null;
  #closing = false;

  override close(code?: number, reason?: string | Buffer): void {
    const notify = this.onProtocolError;
    if (!this.#closing && notify !== null && code !== undefined && reason === undefined && this.readyState === WebSocket.OPEN) {
      const error = protocolError(code);
      if (error !== null) {
        this.#closing = true;
        notify(error);
      }
    }
    this.#closing = true;
    super.close(code, reason);
  }
}

/** The close codes that ws's receiver uses (`lib/receiver.js`), which carry no reason. */
function protocolError(code: number): WhisperError | null {
  if (code === 1009) return new WhisperError('payload_too_large', 'A message is larger than the limit; send audio in smaller messages.');
  if (code === 1007) return new WhisperError('invalid_json', 'expected UTF-8 in a text message; audio goes into binary messages');
  if (code === 1002) return new WhisperError('invalid_message', 'A WebSocket frame breaks RFC 6455.');
  if (code === 1008) return new WhisperError('payload_too_large', 'A message is cut into too many fragments.');
  return null;
}

// How an error shows over HTTP: status, Retry-After and the one body that every route uses. Also for sockets without a response object.

import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { ERROR_CODES, type WhisperError } from '../core/errors.ts';
import type { ErrorBody } from '../protocol/rest.ts';

const DEFAULT_RETRY_SECONDS = 2;

export const errorStatus = (error: WhisperError): number => ERROR_CODES[error.code].httpStatus;

/** Whole seconds, at least 1, for the codes that promise a retry; undefined for the others. */
export function retryAfterSeconds(error: WhisperError): number | undefined {
  const status = errorStatus(error);
  if (status !== 429 && status !== 503) return undefined;
  return Math.max(1, Math.ceil(error.retryAfterSeconds ?? DEFAULT_RETRY_SECONDS));
}

export const errorBody = (error: WhisperError): ErrorBody => ({ error: { code: error.code, message: error.message } });

export function errorHeaders(error: WhisperError): Record<string, string> {
  const retryAfter = retryAfterSeconds(error);
  return retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) };
}

/** Answers on a bare socket, as at a refused handshake or after malformed HTTP, and closes it. */
export function replyOnSocket(socket: Duplex, error: WhisperError, extraHeaders: Record<string, string> = {}): void {
  const status = errorStatus(error);
  const body = JSON.stringify(errorBody(error));
  const headers = {
    ...errorHeaders(error),
    ...extraHeaders,
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  // The peer may be gone; there is nobody left to tell.
  socket.on('error', () => socket.destroy());
  if (!socket.writable) return void socket.destroy();
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n${lines.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}

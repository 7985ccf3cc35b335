// Every failed request gets the one error body: the routes' own errors, fastify's, unknown paths and methods, malformed HTTP.

import type { Socket } from 'node:net';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ERROR_CODES, type ErrorCode, toWhisperError, WhisperError } from '../core/errors.ts';
import { errorBody, errorHeaders, errorStatus, replyOnSocket } from './error-body.ts';
import type { HttpMetrics } from './http-metrics.ts';

/** How long the rest of a refused body is read: a client that is still sending would otherwise lose the answer to a reset. */
const LINGER_MS = 5000;

/** Fastify's and its plugins' errors that say more than "bad request". */
const FRAMEWORK_CODES: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'payload_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'undecodable_audio',
  FST_PARTS_LIMIT: 'payload_too_large',
  FST_FIELDS_LIMIT: 'payload_too_large',
  FST_FILES_LIMIT: 'invalid_parameter',
};

/** To be called before the routes are added: it remembers their methods. */
export function addErrorHandlers(app: FastifyInstance, metrics: HttpMetrics): void {
  // Not asked of the router: it reads a path as a pattern, and throws where a client's is none (`/:a(`).
  const methods = new Map<string, string[]>();
  app.addHook('onRoute', ({ method, url }) => {
    methods.set(url, (methods.get(url) ?? []).concat(method));
  });
  app.setErrorHandler((error: FastifyError, request, reply) => sendError(error, request, reply, metrics));
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? '';
    const allowed = methods.get(path) ?? [];
    if (allowed.length > 0) {
      reply.header('allow', allowed.join(', '));
      return sendError(
        new WhisperError('method_not_allowed', `expected ${allowed.join(' or ')}, got ${request.method}`),
        request,
        reply,
        metrics,
      );
    }
    return sendError(new WhisperError('not_found', 'No such path.'), request, reply, metrics);
  });
}

export function sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply, metrics: HttpMetrics): FastifyReply {
  const error = asWhisperError(thrown);
  if (ERROR_CODES[error.code].httpStatus === 500) request.log.error({ err: error.cause ?? error }, 'request failed');
  metrics.failed(error.code);
  return reply
    .code(errorStatus(error))
    .headers(errorHeaders(error))
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(errorBody(error)));
}

/** Call when the answer is out: reads what is left of the body, for a while, so that the connection stays in order. */
export function drainBody(request: FastifyRequest): void {
  const { raw } = request;
  if (raw.complete || raw.destroyed) return;
  raw.unpipe();
  raw.resume();
  const timer = setTimeout(() => raw.socket.destroy(), LINGER_MS);
  raw.once('close', () => clearTimeout(timer));
  raw.once('end', () => clearTimeout(timer));
}

/** Fastify's clientErrorHandler: what came is not HTTP, too long or too slow. */
export function handleClientError(thrown: Error & { code?: string }, socket: Socket): void {
  if (thrown.code === 'ECONNRESET' || socket.destroyed) {
    socket.destroy();
    return;
  }
  if (thrown.code === 'ERR_HTTP_REQUEST_TIMEOUT')
    replyOnSocket(socket, new WhisperError('idle_timeout', 'The request did not arrive in time.'));
  else if (thrown.code === 'HPE_HEADER_OVERFLOW')
    replyOnSocket(socket, new WhisperError('payload_too_large', 'The request head is too large.'));
  else replyOnSocket(socket, new WhisperError('invalid_message', 'expected an HTTP/1.1 request, got something else'));
}

function asWhisperError(thrown: unknown): WhisperError {
  if (thrown instanceof WhisperError) return thrown;
  const { code = '', statusCode = 500 } = thrown as Partial<FastifyError>;
  const known = FRAMEWORK_CODES[code];
  // Their messages may quote the request; the code says enough.
  if (known !== undefined) return new WhisperError(known, ERROR_CODES[known].meaning, { cause: thrown });
  if (code === 'FST_ERR_BAD_URL') return new WhisperError('invalid_parameter', 'The URL is not well-formed.', { cause: thrown });
  if (statusCode >= 400 && statusCode < 500)
    return new WhisperError('invalid_message', 'The request is not well-formed.', { cause: thrown });
  return toWhisperError(thrown);
}

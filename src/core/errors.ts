// The one error class and the registry of its codes. docs/errors.md is kept in step by errors.test.ts.

/** How a code shows on the wire: HTTP status, WebSocket close code, and what it means to a user. */
export interface ErrorCodeInfo {
  readonly httpStatus: number;
  readonly closeCode: number;
  readonly meaning: string;
}

const code = (httpStatus: number, closeCode: number, meaning: string): ErrorCodeInfo => ({ httpStatus, closeCode, meaning });

/** Every code that a user can meet. A code is never reused for another meaning. */
export const ERROR_CODES = {
  invalid_json: code(400, 1007, 'A message is not valid JSON.'),
  invalid_message: code(400, 1007, 'A message has an unknown type or the wrong shape.'),
  invalid_config: code(400, 1007, 'A configuration key is unknown or its value is out of range.'),
  invalid_parameter: code(400, 1007, 'A query parameter is unknown or its value is out of range.'),
  not_found: code(404, 1008, 'No such path.'),
  method_not_allowed: code(405, 1008, 'The path does not take this method.'),
  unauthorized: code(401, 1008, 'The request carries no valid key.'),
  payload_too_large: code(413, 1009, 'The body or message is larger than the limit.'),
  audio_too_long: code(413, 1009, 'The audio lasts longer than the limit.'),
  undecodable_audio: code(415, 1003, 'The bytes are not audio that can be decoded.'),
  no_audio: code(422, 1003, 'The input decodes, but holds no audio samples.'),
  rate_limited: code(429, 1013, 'Too many requests; try again after retry_after seconds.'),
  overloaded: code(503, 1013, 'The service is at capacity; try again after retry_after seconds.'),
  not_ready: code(503, 1013, 'The model is not loaded yet.'),
  unavailable: code(503, 1013, 'The speech recogniser cannot be reached; try again after retry_after seconds.'),
  going_away: code(503, 1001, 'The service is shutting down; connect again.'),
  timeout: code(504, 1011, 'The work did not finish in time.'),
  idle_timeout: code(408, 1008, 'Nothing came from the client for too long.'),
  cancelled: code(499, 1011, 'The client went away before the work was done.'),
  model_not_found: code(500, 1011, 'The model is neither local, cached nor downloadable.'),
  model_corrupt: code(500, 1011, 'A model file does not match its checksum or format.'),
  download_failed: code(500, 1011, 'A model file could not be downloaded.'),
  device_unavailable: code(500, 1011, 'The device or precision that was asked for cannot be used on this machine.'),
  internal: code(500, 1011, 'An unexpected failure inside the service.'),
} as const satisfies Record<string, ErrorCodeInfo>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An error that a user may see: the message names the input, what was expected and what came. */
export class WhisperError extends Error {
  readonly code: ErrorCode;
  /** Seconds after which a retry makes sense; only for codes whose HTTP status is 429 or 503. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; retryAfterSeconds?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'WhisperError';
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Any thrown value as a WhisperError; what is not one already becomes `internal` with a message that tells nothing of it. */
export function toWhisperError(value: unknown): WhisperError {
  if (value instanceof WhisperError) return value;
  if (value instanceof Error && value.name === 'AbortError')
    return new WhisperError('cancelled', 'The request was cancelled.', { cause: value });
  return new WhisperError('internal', 'An unexpected failure inside the service.', { cause: value });
}

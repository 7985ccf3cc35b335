// The server's limits: what one client may use, and when the service says no. Each has a default that suits one machine.

export interface ServerLimits {
  /**
   * Open streams; more are refused with HTTP 503 at the handshake. A bound for memory (an idle stream takes some 100 KiB, one that
   * is a minute ahead 4 MiB); how many the machine can follow is measured, see admission.ts. @default 1024
   */
  readonly maxSessions: number;
  /**
   * Streams with `encoding: container` among them. Each holds a thread of libuv's pool while it waits for bytes, so keep this
   * below UV_THREADPOOL_SIZE, which is 4 unless it was set before the process began (`src/cli` sets it). @default 2
   */
  readonly maxContainerStreams: number;
  /** Files transcribed at once; more are refused with 503. @default 4 */
  readonly maxFiles: number;
  /** Bytes of one WebSocket message, which is held in memory whole. @default 4 MiB */
  readonly maxMessageBytes: number;
  /** Bytes of a file. @default 1 GiB */
  readonly maxFileBytes: number;
  /** Seconds of audio in a file. @default 4 hours */
  readonly maxFileSeconds: number;
  /** Seconds of audio in a stream. @default 12 hours */
  readonly maxStreamSeconds: number;
  /** Seconds of audio that a stream may be ahead of its transcript before its socket is no longer read. @default 60 */
  readonly maxAheadSeconds: number;
  /** Bytes of undecoded container audio that a stream may queue before its socket is no longer read. @default 1 MiB */
  readonly maxUndecodedBytes: number;
  /** Bytes that wait for a client that does not read: from here on it gets no partials. @default 256 KiB */
  readonly partialsStopBytes: number;
  /** Bytes that wait for a client that does not read: from here on it is cut off. @default 4 MiB */
  readonly cutOffBytes: number;
  /** A client that sends nothing for so long is sent away, on a stream or in the middle of a file. @default 60 s */
  readonly idleMs: number;
  /** Time between pings; a stream without any sign of life from one ping to the next is dropped. @default 30 s */
  readonly heartbeatMs: number;
  /** The answer to a file must be ready by then, upload included. @default 1 hour */
  readonly fileTimeoutMs: number;
  /** A request's head must have arrived by then. @default 20 s */
  readonly headersTimeoutMs: number;
  /** How long finals of received audio are waited for before a stream is closed for an error. @default 30 s */
  readonly flushTimeoutMs: number;
}

const MIB = 1024 * 1024;

export const DEFAULT_LIMITS: ServerLimits = {
  maxSessions: 1024,
  maxContainerStreams: 2,
  maxFiles: 4,
  maxMessageBytes: 4 * MIB,
  maxFileBytes: 1024 * MIB,
  maxFileSeconds: 4 * 3600,
  maxStreamSeconds: 12 * 3600,
  maxAheadSeconds: 60,
  maxUndecodedBytes: MIB,
  partialsStopBytes: MIB / 4,
  cutOffBytes: 4 * MIB,
  idleMs: 60_000,
  heartbeatMs: 30_000,
  fileTimeoutMs: 3_600_000,
  headersTimeoutMs: 20_000,
  flushTimeoutMs: 30_000,
};

/** The given limits over the defaults; each must be a positive finite number. */
export function resolveLimits(given: Partial<ServerLimits> = {}): ServerLimits {
  const limits = { ...DEFAULT_LIMITS, ...given };
  for (const [name, value] of Object.entries(limits)) {
    if (!(Number.isFinite(value) && value > 0)) throw new RangeError(`${name}: expected a number above 0, got ${value}`);
  }
  return limits;
}

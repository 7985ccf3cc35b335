// The optional bearer keys (RFC 6750): in the Authorization header, or as access_token in the query where a browser opens a WebSocket.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { WhisperError } from '../core/errors.ts';

export interface KeyCheckOptions {
  /** A browser cannot set headers on a WebSocket. @default false */
  readonly alsoInQuery?: boolean;
}

/** Throws WhisperError `unauthorized`. */
export type KeyCheck = (request: IncomingMessage, options?: KeyCheckOptions) => void;

/** @param keys none: every request passes */
export function createKeyCheck(keys: readonly string[]): KeyCheck {
  // Digests have one length, so comparing them takes the same time whatever was sent.
  const digests = keys.map(digest);
  return (request, { alsoInQuery = false } = {}) => {
    if (digests.length === 0) return;
    const sent = keyInHeader(request) ?? (alsoInQuery ? keyInQuery(request) : null);
    const sentDigest = sent === null ? null : digest(sent);
    if (sentDigest === null || !digests.some((known) => timingSafeEqual(known, sentDigest))) {
      throw new WhisperError('unauthorized', 'expected a valid key as "Authorization: Bearer KEY"');
    }
  };
}

const digest = (key: string): Buffer => createHash('sha256').update(key).digest();

const keyInHeader = (request: IncomingMessage): string | null => /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? null;

const keyInQuery = (request: IncomingMessage): string | null => new URLSearchParams(request.url?.split('?')[1]).get('access_token');

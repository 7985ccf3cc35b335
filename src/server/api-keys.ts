// The optional bearer keys: RFC 6750 header, or the access_token query key for browsers, which cannot set headers on a WebSocket.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { WhisperError } from '../core/errors.ts';

/** Throws WhisperError `unauthorized`. */
export type KeyCheck = (request: IncomingMessage) => void;

/** @param keys none: every request passes */
export function createKeyCheck(keys: readonly string[]): KeyCheck {
  // Digests have one length, so comparing them takes the same time whatever was sent.
  const digests = keys.map(digest);
  return (request) => {
    if (digests.length === 0) return;
    const sent = bearerKey(request);
    const sentDigest = sent === null ? null : digest(sent);
    if (sentDigest === null || !digests.some((known) => timingSafeEqual(known, sentDigest))) {
      throw new WhisperError('unauthorized', 'expected a valid key as "Authorization: Bearer KEY"');
    }
  };
}

const digest = (key: string): Buffer => createHash('sha256').update(key).digest();

function bearerKey(request: IncomingMessage): string | null {
  const header = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '');
  if (header !== null) return header[1] ?? null;
  const query = (request.url ?? '').split('?')[1];
  return new URLSearchParams(query).get('access_token');
}

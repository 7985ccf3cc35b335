// Reads a client's text message on /stream: a configuration or a control message.

import { WhisperError } from '../core/errors.ts';
import { describeValue } from './schema-errors.ts';
import type { StreamConfig } from './stream-config.ts';
import { parseStreamConfig } from './stream-config-schema.ts';
import { CONTROL_TYPES, type ControlType } from './stream-messages.ts';

export type ClientMessage =
  | { readonly kind: 'config'; readonly config: StreamConfig }
  | { readonly kind: 'control'; readonly type: ControlType };

/**
 * A message with `type` is a control message, one without is the configuration.
 * @param text one text frame
 * @param configAllowed false once the stream has begun
 * @throws WhisperError `invalid_json`, `invalid_message` or `invalid_config`
 */
export function parseClientMessage(text: string, configAllowed: boolean): ClientMessage {
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new WhisperError('invalid_message', `expected a JSON object, got ${describeValue(value)}; audio goes into binary messages`);
  }
  if ('type' in value) return { kind: 'control', type: parseControl(value) };
  if (!configAllowed) {
    throw new WhisperError(
      'invalid_message',
      `expected a message with "type" (${CONTROL_TYPES.join(', ')}); the configuration must be the first message and come once`,
    );
  }
  return { kind: 'config', config: parseStreamConfig(value) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message would quote the text.
    throw new WhisperError(
      'invalid_json',
      `expected JSON, got ${text.length} characters of something else; audio goes into binary messages`,
    );
  }
}

function parseControl(value: { type: unknown }): ControlType {
  const type = CONTROL_TYPES.find((known) => known === value.type);
  if (type === undefined)
    throw new WhisperError('invalid_message', `type: expected one of ${CONTROL_TYPES.join(', ')}, got ${describeValue(value.type)}`);
  const other = Object.keys(value).find((key) => key !== 'type');
  if (other !== undefined)
    throw new WhisperError('invalid_message', `unknown key ${JSON.stringify(other.slice(0, 40))} in a "${type}" message`);
  return type;
}

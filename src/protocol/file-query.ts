// Query keys of POST /transcribe: names, defaults and how they are read from text.

import { z } from 'zod';
import { WhisperError } from '../core/errors.ts';
import { describeIssue } from './schema-errors.ts';
import { CONFIG_RANGES, type StreamTask, TASKS } from './stream-config.ts';
import { languageCode } from './stream-config-schema.ts';

export const RESPONSE_FORMATS = ['json', 'text', 'srt', 'vtt', 'verbose_json'] as const;
export type ResponseFormat = (typeof RESPONSE_FORMATS)[number];

export interface FileQuery {
  /** ISO 639 code; null detects it. @default null */
  readonly language: string | null;
  /** @default 'transcribe' */
  readonly task: StreamTask;
  /** @default false */
  readonly word_timestamps: boolean;
  /** @default 'json' */
  readonly response_format: ResponseFormat;
  /** Text that biases names and spelling, at most 1000 characters. @default '' */
  readonly prompt: string;
}

const flagExpected = 'true or false';
const promptExpected = `a string of at most ${CONFIG_RANGES.prompt.max} characters, once`;

const schema = z.strictObject({
  language: languageCode('one ISO 639 code such as "en"').nullable().default(null),
  task: z.enum(TASKS, `one of ${TASKS.join(', ')}`).default('transcribe'),
  word_timestamps: z
    .enum(['true', 'false'], flagExpected)
    .transform((text) => text === 'true')
    .default(false),
  response_format: z.enum(RESPONSE_FORMATS, `one of ${RESPONSE_FORMATS.join(', ')}`).default('json'),
  prompt: z.string(promptExpected).max(CONFIG_RANGES.prompt.max, promptExpected).default(''),
});

const KEYS = Object.keys(schema.shape);

/**
 * @param query keys to text, as an HTTP server parses them; a key given twice is an array and refused
 * @throws WhisperError `invalid_parameter`, naming the key, what was expected and what came
 */
export function parseFileQuery(query: unknown): FileQuery {
  const parsed = schema.safeParse(query, { reportInput: true });
  if (parsed.success) return parsed.data;
  throw new WhisperError('invalid_parameter', describeIssue(parsed.error, KEYS));
}

// Reads a stream's configuration as a client sent it: defaults filled in, anything unknown or out of range refused.

import { z } from 'zod';
import { WhisperError } from '../core/errors.ts';
import { describeIssue, describeValue } from './schema-errors.ts';
import { CONFIG_RANGES, DEFAULT_STREAM_CONFIG, ENCODINGS, type StreamConfig, TASKS } from './stream-config.ts';

const KEYS = Object.keys(DEFAULT_STREAM_CONFIG);

const integerWithin = ({ min, max }: { min: number; max: number }) => {
  const expected = `a whole number from ${min} to ${max}`;
  return z.int(expected).min(min, expected).max(max, expected);
};

const flag = () => z.boolean('true or false');
const oneOf = <const T extends readonly [string, ...string[]]>(values: T) => z.enum(values, `one of ${values.join(', ')}`);

/** A language code; whether the model knows it is the server's question. */
export const languageCode = (expected: string) => z.string(expected).regex(/^[a-z]{2,3}$/, expected);

const { chunk_duration: chunk, prompt } = CONFIG_RANGES;
const chunkExpected = `a number from ${chunk.min} to ${chunk.max}`;
const overlapExpected = 'a number from 0 to half of chunk_duration';
const promptExpected = `a string of at most ${prompt.max} characters`;

const schema = z.strictObject(
  {
    language: languageCode('an ISO 639 code such as "en", or null').nullable(),
    chunk_duration: z.number(chunkExpected).min(chunk.min, chunkExpected).max(chunk.max, chunkExpected),
    overlap: z.number(overlapExpected).min(0, overlapExpected),
    use_context: flag(),
    encoding: oneOf(ENCODINGS),
    sample_rate: integerWithin(CONFIG_RANGES.sample_rate),
    channels: integerWithin(CONFIG_RANGES.channels),
    interim_results: flag(),
    word_timestamps: flag(),
    task: oneOf(TASKS),
    prompt: z.string(promptExpected).max(prompt.max, promptExpected),
  },
  'an object',
);
const partialSchema = schema.partial();

/**
 * @param value the parsed JSON of the client's first message
 * @throws WhisperError `invalid_config`, naming the key, what was expected and what came
 */
export function parseStreamConfig(value: unknown): StreamConfig {
  if (typeof value === 'object' && value !== null && 'resume' in value) {
    throw new WhisperError('invalid_config', 'resume: resuming a session is not supported yet; leave the key out');
  }
  const parsed = partialSchema.safeParse(value, { reportInput: true });
  if (!parsed.success) throw new WhisperError('invalid_config', describeIssue(parsed.error, KEYS));
  const given = Object.fromEntries(Object.entries(parsed.data).filter(([, entry]) => entry !== undefined));
  const config: StreamConfig = { ...DEFAULT_STREAM_CONFIG, ...given };
  if (config.overlap > config.chunk_duration / 2) {
    throw new WhisperError(
      'invalid_config',
      `overlap: expected ${overlapExpected} (${config.chunk_duration / 2}), got ${describeValue(config.overlap)}`,
    );
  }
  return config;
}

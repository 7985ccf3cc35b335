// What a schema refuses, in one sentence for the client: which key, what was expected, what came.

import type { z } from 'zod';

/** A value as it may appear in a message: short, and never the client's free text. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return value.length <= 40 ? JSON.stringify(value) : `a string of ${value.length} characters`;
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}

/**
 * The first issue as a sentence. Schemas set each key's message to what they expect ("a number from 1 to 25"),
 * and are parsed with `reportInput`, so that the value is at hand.
 * @param known the keys that the schema knows, listed when it meets another
 */
export function describeIssue(error: z.ZodError, known: readonly string[]): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'invalid';
  if (issue.code === 'unrecognized_keys') return `unknown key ${describeKey(issue.keys[0] ?? '')}; expected one of ${known.join(', ')}`;
  const got = `got ${describeValue(issue.input)}`;
  return issue.path.length === 0 ? `expected ${issue.message}, ${got}` : `${issue.path.join('.')}: expected ${issue.message}, ${got}`;
}

function describeKey(key: string): string {
  return JSON.stringify(key.length <= 40 ? key : `${key.slice(0, 40)}…`);
}

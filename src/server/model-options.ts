// Whether the loaded model can do what a client asks: the language it names, and translation.

import { type ErrorCode, WhisperError } from '../core/errors.ts';
import type { ModelInfo, Task } from '../engine/transcriber.ts';
import { describeValue } from '../protocol/schema-errors.ts';

/**
 * @param code what a refusal is called on this path
 * @throws WhisperError with that code
 */
export function checkModelOptions(
  info: ModelInfo,
  wanted: { readonly language: string | null; readonly task: Task },
  code: ErrorCode,
): void {
  const { language, task } = wanted;
  if (language !== null && !info.languages.includes(language)) {
    const expected = info.languages.length > 1 ? `one of the ${info.languages.length} languages` : `"${info.languages[0]}", the language`;
    throw new WhisperError(code, `language: expected ${expected} of model ${info.name}, got ${describeValue(language)}`);
  }
  if (task === 'translate' && !info.multilingual) {
    throw new WhisperError(code, `task: expected "transcribe", as model ${info.name} knows one language only, got "translate"`);
  }
}

// A tokenizer.json of made-up words, with Whisper's numbers of tokens and its special tokens in their places.

/** Of the multilingual models; `<|endoftext|>` follows them. */
export const TEXT_TOKENS = 50_257;
const TIMESTAMPS = 1501;
/** Before and behind the languages. */
const BEFORE_LANGUAGES = ['endoftext', 'startoftranscript'];
const BEHIND_LANGUAGES = ['translate', 'transcribe', 'startoflm', 'startofprev', 'nocaptions', 'notimestamps'];
const LETTERS = 26;
/** One token of so many goes on with the word before it. */
const CONTINUATION_EVERY = 4;

/** @param vocabularySize of a multilingual model: it tells how many languages there are */
export function randomTokenizer(vocabularySize: number): object {
  const languages = vocabularySize - TEXT_TOKENS - BEFORE_LANGUAGES.length - BEHIND_LANGUAGES.length - TIMESTAMPS;
  if (languages < 1) throw new RangeError(`a vocabulary of ${vocabularySize} has no room for Whisper's special tokens`);
  const vocab: Record<string, number> = {};
  // Every word has its number in it, so that no two tokens have the same text.
  for (let id = 0; id < TEXT_TOKENS; id++) vocab[`${id % CONTINUATION_EVERY === 0 ? '' : '\u0120'}${letters(id, 4)}`] = id;
  const contents = [...BEFORE_LANGUAGES, ...languageCodes(languages), ...BEHIND_LANGUAGES];
  return {
    added_tokens: contents.map((name, i) => ({ id: TEXT_TOKENS + i, content: `<|${name}|>`, special: true })),
    model: { type: 'BPE', vocab, merges: [] },
  };
}

/** `en`, and two letters for each of the others. */
function languageCodes(count: number): string[] {
  const codes = ['en'];
  for (let i = 0; codes.length < count; i++) if (letters(i, 2) !== 'en') codes.push(letters(i, 2));
  return codes;
}

/** `number` with letters for digits, at least `length` of them. */
function letters(number: number, length: number): string {
  let text = '';
  for (let rest = number; rest > 0 || text.length < length; rest = Math.floor(rest / LETTERS))
    text = String.fromCharCode('a'.charCodeAt(0) + (rest % LETTERS)) + text;
  return text;
}

// Groups tokens into words, as whisper/tokenizer.py `split_to_word_tokens` does.

export interface WordTokens {
  readonly text: string;
  readonly tokens: readonly number[];
}

/** Written without spaces: each run of tokens that ends on a whole character counts as a word. */
const LANGUAGES_WITHOUT_SPACES = new Set(['zh', 'ja', 'th', 'lo', 'my', 'yue']);

/** Python's string.punctuation; a piece that is a substring of it (as the reference tests it) stands alone. */
const PUNCTUATION = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~';

const REPLACEMENT = '\uFFFD';

/** `decode` keeps U+FFFD for bytes that are not valid UTF-8. Only text tokens. */
export function splitIntoWords(tokens: readonly number[], language: string, decode: (tokens: readonly number[]) => string): WordTokens[] {
  const characters = dropIncompleteEnd(splitOnCharacters(tokens, decode));
  if (LANGUAGES_WITHOUT_SPACES.has(language)) return characters;

  const words: { text: string; tokens: number[] }[] = [];
  for (const piece of characters) {
    const last = words.at(-1);
    if (last === undefined || piece.text.startsWith(' ') || PUNCTUATION.includes(piece.text.trim())) {
      words.push({ text: piece.text, tokens: [...piece.tokens] });
    } else {
      last.text += piece.text;
      last.tokens.push(...piece.tokens);
    }
  }
  return words;
}

/** The shortest runs of tokens that hold whole characters. */
function splitOnCharacters(tokens: readonly number[], decode: (tokens: readonly number[]) => string): WordTokens[] {
  const full = decode(tokens);
  const pieces: WordTokens[] = [];
  let current: number[] = [];
  let offset = 0;
  for (const token of tokens) {
    current.push(token);
    const text = decode(current);
    const replacementAt = text.indexOf(REPLACEMENT);
    // where the full text has U+FFFD too, it was spoken so, or the bytes will never be complete
    if (replacementAt === -1 || full[offset + replacementAt] === REPLACEMENT) {
      pieces.push({ text, tokens: current });
      current = [];
      offset += text.length;
    }
  }
  if (current.length > 0) pieces.push({ text: decode(current), tokens: current });
  return pieces;
}

/** A last character that lacks bytes is not text: its tokens stay, with the word before if there is one. */
function dropIncompleteEnd(pieces: WordTokens[]): WordTokens[] {
  const last = pieces.at(-1);
  if (last === undefined || !last.text.endsWith(REPLACEMENT)) return pieces;
  const text = last.text.replace(/\uFFFD+$/, '');
  const rest = pieces.slice(0, -1);
  const before = rest.at(-1);
  if (text !== '' || before === undefined) return [...rest, { text, tokens: last.tokens }];
  return dropIncompleteEnd([...rest.slice(0, -1), { text: before.text, tokens: [...before.tokens, ...last.tokens] }]);
}

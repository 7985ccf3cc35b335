// The ids of Whisper's special tokens, found by their names: they differ between .en, multilingual and large-v3 models.

export interface SpecialTokens {
  /** The first special token: every id below it is text. */
  readonly endOfText: number;
  readonly startOfTranscript: number;
  readonly startOfPrevious: number;
  readonly noTimestamps: number;
  readonly noSpeech: number;
  readonly transcribe: number;
  readonly translate: number;
  /** `<|0.00|>`; each following id is 20 ms later. */
  readonly timestampBegin: number;
  /** ISO 639 code -> id, in the order of the ids; empty for `.en` models, which take no language token. */
  readonly languageTokens: ReadonlyMap<string, number>;
}

/** What this project reads of a tokenizer.json. */
export interface TokenizerFile {
  readonly added_tokens: readonly { readonly id: number; readonly content: string }[];
  readonly model: { readonly vocab: Readonly<Record<string, number>> };
}

/** Throws an Error that names the first token that is missing. */
export function findSpecialTokens(file: TokenizerFile, multilingual: boolean): SpecialTokens {
  const ids = new Map<string, number>();
  for (const { content, id } of file.added_tokens) ids.set(content, id);
  const optional = (name: string): number | undefined => ids.get(`<|${name}|>`) ?? file.model.vocab[`<|${name}|>`];
  const required = (name: string): number => {
    const id = optional(name);
    if (id === undefined) throw new Error(`no token <|${name}|>`);
    return id;
  };

  const startOfTranscript = required('startoftranscript');
  const transcribe = required('transcribe');
  const translate = required('translate');
  const noTimestamps = required('notimestamps');
  const languages = [...ids]
    .map(([content, id]) => ({ code: /^<\|([a-z]{2,3})\|>$/.exec(content)?.[1], id }))
    .filter(({ code, id }) => code !== undefined && id > startOfTranscript && id < Math.min(transcribe, translate))
    .sort((a, b) => a.id - b.id);

  return {
    endOfText: required('endoftext'),
    startOfTranscript,
    startOfPrevious: required('startofprev'),
    noTimestamps,
    // older files call it <|nocaptions|>
    noSpeech: optional('nospeech') ?? required('nocaptions'),
    transcribe,
    translate,
    // not every tokenizer.json lists the timestamps, they always follow <|notimestamps|>
    timestampBegin: optional('0.00') ?? noTimestamps + 1,
    languageTokens: new Map(multilingual ? languages.map(({ code, id }) => [code as string, id]) : []),
  };
}

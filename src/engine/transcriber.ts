// The Transcriber interface: one window of audio in, tokens and timed words out. Local and remote engines share it.

export type Task = 'transcribe' | 'translate';

/** finals before partials, files last: the scheduler's order. */
export type Priority = 'final' | 'partial' | 'file';

/** One self-contained piece of work; it carries all that the engine needs, so it can be retried anywhere. */
export interface TranscribeRequest {
  /** Mono PCM at 16 kHz, at most 30 s, without the silent margin (the engine adds it). Not modified. */
  readonly pcm: Float32Array;
  /** ISO 639-1 code, or null to detect it from this window. */
  readonly language: string | null;
  /** @default 'transcribe' */
  readonly task?: Task;
  /** Tokens of text that came before, for `<|startofprev|>`; a bias for names and spelling. @default [] */
  readonly prompt?: readonly number[];
  /** Text that came before or that biases spelling, tokenised by the engine; goes before `prompt`. @default '' */
  readonly promptText?: string;
  /** Tokens of the words already committed at the window's start: the decoder is forced through them. @default [] */
  readonly prefix?: readonly number[];
  /** Number of samples at the window's start that belong to `prefix`; a retry without the prefix starts there. @default 0 */
  readonly prefixSamples?: number;
  /**
   * A guess at the tokens that follow `prefix`, from an earlier look at the same audio: what is right in it costs one pass
   * instead of a step a token, and the result is the same without it. @default []
   */
  readonly draft?: readonly number[];
  /**
   * Samples from the window's start: doubtful words that end later will mostly be heard again with what follows them, so the engine
   * spends no search on them. 0: none at all. @default the whole window
   */
  readonly searchUntil?: number;
  /** A partial is decoded once: where that fails, it has no words. @default 'final' */
  readonly priority?: Priority;
  /** Whose work it is (a stream, a file): owners of partials and of files take turns. @default '' */
  readonly owner?: string;
}

/** One word as Whisper writes it. Joining the `text` of words gives the transcript. */
export interface Word {
  /** With its leading space, where the language has spaces. */
  readonly text: string;
  readonly tokens: readonly number[];
  /** Samples from the window's start, start <= end. */
  readonly start: number;
  readonly end: number;
  /** Mean probability of its tokens, 0-1. */
  readonly probability: number;
}

export interface TranscribeResult {
  /** The new words (never those of `prefix`), in order, inside the window. Empty: nothing was said. */
  readonly words: readonly Word[];
  /** Where the decode began, in samples from the window's start: 0, or prefixSamples after a retry without the prefix. */
  readonly offset: number;
  readonly language: string;
  /** 0-1; 1 where the language was given. */
  readonly languageProbability: number;
  /** Probability of `<|nospeech|>` at the start token, 0-1. */
  readonly noSpeechProbability: number;
  /** Mean log-probability of the decoded tokens (natural log). */
  readonly averageLogProbability: number;
  /** UTF-8 length over deflated length of the text. */
  readonly compressionRatio: number;
  /** Sampling temperature of the accepted decode, 0 for greedy and beam. */
  readonly temperature: number;
}

/** What the service knows of its model. */
export interface ModelInfo {
  /** For instance `base` or `tiny.en`. */
  readonly name: string;
  readonly multilingual: boolean;
  /** ISO codes that `language` may take. */
  readonly languages: readonly string[];
}

/** What the engine measures of itself: the basis of admission and of the pace of partials. */
export interface TranscriberLoad {
  /** Windows that are computed side by side: engine threads, of all replicas together. */
  readonly engines: number;
  /** Shares (0-1) of the engines' time of the last 10 s that went into each kind of work. */
  readonly finalShare: number;
  readonly partialShare: number;
  readonly fileShare: number;
  /** Processes that have streams on these engines, this one among them; 1 where the engines are in this process. */
  readonly callers: number;
  /** What of `finalShare` others brought, who share the engines with this transcriber's caller; 0 where there are none. */
  readonly finalShareOfOthers: number;
  /** Engine time of one final, mean over the last ones, in seconds; from the warm-up before there were any. */
  readonly finalSeconds: number;
  readonly partialSeconds: number;
  /** Time that the final which waits longest has waited so far, in seconds; 0 where none waits. */
  readonly oldestFinalSeconds: number;
  /**
   * 95th percentile of the time from submission of a final to its result over the last 10 s, in seconds; of 2 to 19 the second longest; 0
   * without any.
   */
  readonly finalDelaySeconds: number;
  /** Time since the engines were last heard of; 0 where they are in this process. */
  readonly silentSeconds: number;
}

export interface Transcriber {
  readonly info: ModelInfo;
  /** Cheap enough to be asked for every window. */
  load(): TranscriberLoad;
  /** Rejects with WhisperError: `overloaded` when the queue is full, `cancelled` when the signal aborts, `internal`, `unavailable`. */
  transcribe(request: TranscribeRequest, signal?: AbortSignal): Promise<TranscribeResult>;
  /** Waits for the requests it took, refuses later ones; idempotent. */
  close(): Promise<void>;
}

/** Voice activity, stateless over the block given. */
export interface SpeechDetector {
  /** pcm at 16 kHz -> one speech probability (0-1) for each started 512 samples (32 ms). Not modified. */
  detect(pcm: Float32Array, signal?: AbortSignal): Promise<Float32Array>;
  close(): Promise<void>;
}

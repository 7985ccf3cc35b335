// The final windows that real sessions asked for while people spoke, as numbers: when, how long, how many tokens, how old their words were.

import { readFileSync } from 'node:fs';

export interface RecordedWindow {
  /** When its audio was there, from the start of the stream. */
  readonly atSeconds: number;
  /** Its audio, that of the prefix included. */
  readonly seconds: number;
  readonly prefixSeconds: number;
  readonly prefixTokens: number;
  /** That the decoder found in its first attempt, the end not counted. */
  readonly tokens: number;
  /** What became final with it: the age of each word when the window's audio was there. */
  readonly wordAges: readonly number[];
}

export interface Recording {
  readonly chunkSeconds: number;
  readonly overlapSeconds: number;
  /** A stream each, in order of time. */
  readonly streams: readonly (readonly RecordedWindow[])[];
}

export const RECORDING_FILE = new URL('recorded-windows.json', import.meta.url);

export const readRecording = (): Recording => JSON.parse(readFileSync(RECORDING_FILE, 'utf8')) as Recording;

export interface TypicalWindow {
  readonly seconds: number;
  readonly prefixTokens: number;
  readonly tokens: number;
}

/** Means over all windows: what is measured one batch at a time. */
export function typicalWindow({ streams }: Recording): TypicalWindow & { readonly everySeconds: number } {
  const windows = streams.flat();
  const mean = (of: (window: RecordedWindow) => number): number => windows.reduce((sum, window) => sum + of(window), 0) / windows.length;
  const spanSeconds = streams.reduce((sum, stream) => sum + stream.at(-1)!.atSeconds - stream[0]!.atSeconds, 0);
  return {
    seconds: mean(({ seconds }) => seconds),
    prefixTokens: Math.round(mean(({ prefixTokens }) => prefixTokens)),
    tokens: Math.round(mean(({ tokens }) => tokens)),
    everySeconds: spanSeconds / (windows.length - streams.length),
  };
}

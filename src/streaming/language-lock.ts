// Decides once which language a stream or file is in: the first confident window, or the best guess after a few.

import type { TranscribeResult } from '../engine/transcriber.ts';

/** Windows with words after which the best guess so far is taken. */
const WINDOWS_UNTIL_BEST_GUESS = 3;

export class LanguageLock {
  readonly #confidence: number;
  readonly #votes = new Map<string, number>();
  #language: string | null;
  #windowCount = 0;

  /**
   * @param language given by the client, or null to find it
   * @param confidence probability (0-1) at which one window decides
   */
  constructor(language: string | null, confidence: number) {
    this.#language = language;
    this.#confidence = confidence;
  }

  /** The decided language; null: requests must ask for detection. */
  get language(): string | null {
    return this.#language;
  }

  /** The decided language, or the likeliest so far, or null when nothing was said yet. */
  get bestGuess(): string | null {
    return this.#language ?? this.#likeliest();
  }

  /** Takes a result's detection into account; results without words prove nothing. */
  observe(result: TranscribeResult): void {
    if (this.#language !== null || result.words.length === 0) return;
    this.#windowCount++;
    this.#votes.set(result.language, (this.#votes.get(result.language) ?? 0) + result.languageProbability);
    if (result.languageProbability >= this.#confidence) this.#language = result.language;
    else if (this.#windowCount >= WINDOWS_UNTIL_BEST_GUESS) this.#language = this.#likeliest();
  }

  #likeliest(): string | null {
    let best: string | null = null;
    for (const [language, votes] of this.#votes) if (best === null || votes > this.#votes.get(best)!) best = language;
    return best;
  }
}

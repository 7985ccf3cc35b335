// Word error rate of a short English text for tests: no case, no punctuation, small numbers as words.

const NUMBERS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'];

export function normalisedWords(text: string): string[] {
  const words = text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [];
  return words.map((word) => NUMBERS[Number(word)] ?? word);
}

/** Edits (substitutions, insertions, deletions) over the reference's words, 0 and up. */
export function wordErrorRate(reference: string, hypothesis: string): number {
  const expected = normalisedWords(reference);
  const heard = normalisedWords(hypothesis);
  let above = Array.from({ length: heard.length + 1 }, (_, index) => index);
  for (let row = 1; row <= expected.length; row++) {
    const current = [row];
    for (let column = 1; column <= heard.length; column++) {
      const substitution = above[column - 1] + (expected[row - 1] === heard[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, above[column] + 1, current[column - 1] + 1));
    }
    above = current;
  }
  return above[heard.length] / Math.max(1, expected.length);
}

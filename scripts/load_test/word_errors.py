"""Word errors of a transcript against the known text, as bench/score.py counts them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

# Written without spaces, or with spaces where one may put them or not.
_BY_CHARACTER = {"zh", "ja", "ko"}
# These join their sentences without a space (docs/api.md).
_WITHOUT_SPACES = {"zh", "yue", "ja", "th", "lo", "my"}


@dataclass(frozen=True)
class ErrorCount:
    """Pooled by adding both; the rate is errors over length."""

    errors: int
    # words of the known text, or characters
    length: int

    @property
    def percent(self) -> float:
        return 100 * self.errors / self.length


def count_errors(language: str, reference: str, hypothesis: str) -> ErrorCount | None:
    """Substitutions, deletions and insertions; None where the known text has no words."""
    expected, heard = _normalise(language, reference), _normalise(language, hypothesis)
    if not expected:
        return None
    output: jiwer.WordOutput | jiwer.CharacterOutput
    if language in _BY_CHARACTER:
        output = jiwer.process_characters(expected.replace(" ", ""), heard.replace(" ", ""))
    else:
        output = jiwer.process_words(expected, heard)
    return ErrorCount(
        output.substitutions + output.deletions + output.insertions,
        output.hits + output.substitutions + output.deletions,
    )


def join_finals(language: str, texts: list[str]) -> str:
    return ("" if language in _WITHOUT_SPACES else " ").join(text for text in texts if text)


def _normalise(language: str, text: str) -> str:
    normalised: str = _normaliser(language == "en")(text)
    return normalised.strip()


@cache
def _normaliser(is_english: bool) -> EnglishTextNormalizer | BasicTextNormalizer:
    return EnglishTextNormalizer() if is_english else BasicTextNormalizer()

"""Word errors."""

from __future__ import annotations

import pytest

from load_test.word_errors import ErrorCount, count_errors, join_finals


@pytest.mark.parametrize(
    ("language", "reference", "hypothesis", "errors", "length"),
    [
        ("en", "Hello, world.", "hello world", 0, 2),
        ("en", "a quick brown fox", "the quick fox jumps", 3, 4),
        ("en", "it's twenty one", "It is 21.", 0, 3),
        ("en", "hello world", "", 2, 2),
        ("de", "Guten Tag!", "guten  Abend", 1, 2),
        ("zh", "你好世界", "你好", 2, 4),
        ("ja", "こんにちは 世界", "こんにちは世界。", 0, 7),
    ],
)
def test_errors_are_counted(language: str, reference: str, hypothesis: str, errors: int, length: int) -> None:
    assert count_errors(language, reference, hypothesis) == ErrorCount(errors, length)


def test_without_known_words_there_is_no_rate() -> None:
    assert count_errors("en", " . ", "hello") is None
    assert ErrorCount(1, 8).percent == 12.5


def test_finals_are_joined_as_their_language_is_written() -> None:
    assert join_finals("en", ["Hello", "", "world."]) == "Hello world."
    assert join_finals("ja", ["こんにちは", "世界"]) == "こんにちは世界"

"""What several tests need: clips that say what they are, and an observer that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# Locust patches the standard library for its greenlets; before anything else imports parts of it
import locust  # noqa: F401
import pytest

from load_test.audio import SAMPLE_RATE, Clip


def make_clip(name: str, seconds: float, language: str = "en", text: str | None = None) -> Clip:
    silence = bytes(round(seconds * SAMPLE_RATE) * 2)
    return Clip(name, language, f"say {name}" if text is None else text, Path(f"{name}.wav"), silence)


@dataclass
class KeptFigures:
    words: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    connects: int = 0

    def word_final(self, milliseconds: float) -> None:
        self.words.append(round(milliseconds, 3))

    def first_text(self, milliseconds: float) -> None:
        self.first.append(round(milliseconds, 3))

    def connected(self, milliseconds: float) -> None:
        self.connects += 1

    def frame_late(self, milliseconds: float) -> None:
        self.late.append(milliseconds)


@pytest.fixture
def figures() -> KeptFigures:
    return KeptFigures()

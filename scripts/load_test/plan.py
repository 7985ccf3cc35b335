"""What each stream plays: its own sequence of clips with silence between them, the same in every run.

The same sequences as those of bench/capacity/plan.ts, so that both can be held side by side on one folder of speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from .audio import SAMPLE_RATE, Clip

FRAME_SAMPLES = SAMPLE_RATE // 10
FRAME_SECONDS = 0.1
_BYTES_PER_SAMPLE = 2
_SILENCE_SAMPLES = SAMPLE_RATE * 8 // 10
# Stream k begins this many clips after stream k - 1.
_STRIDE = 7
_SHUFFLE_SEED = 20_240_611
_MASK = 0xFFFFFFFF

Item = TypeVar("Item")


@dataclass(frozen=True)
class PlanPart:
    """One clip and where it begins in the stream."""

    clip: Clip
    start_sample: int

    @property
    def end_sample(self) -> int:
        return self.start_sample + self.clip.sample_count


@dataclass(frozen=True)
class StreamPlan:
    """Clips of one language in order, without overlap; between them is silence. It ends where a clip ends."""

    language: str
    parts: tuple[PlanPart, ...]

    @property
    def sample_count(self) -> int:
        return self.parts[-1].end_sample

    @property
    def frame_count(self) -> int:
        return -(-self.sample_count // FRAME_SAMPLES)

    @property
    def first_speech_sample(self) -> int:
        return self.parts[0].start_sample + self.parts[0].clip.first_speech_sample

    def pcm(self) -> bytes:
        """All of it, 16-bit little-endian."""
        out = bytearray(self.sample_count * _BYTES_PER_SAMPLE)
        for part in self.parts:
            start = part.start_sample * _BYTES_PER_SAMPLE
            out[start : start + len(part.clip.pcm)] = part.clip.pcm
        return bytes(out)


def plan_stream(clips: Sequence[Clip], index: int, seconds: float) -> StreamPlan:
    """Goes round the clips from one of its own, leaves out what no longer fits, and stops when nothing does.

    With clips of several languages each stream speaks one of them, in turn.
    """
    languages = sorted({clip.language for clip in clips})
    language = languages[index % len(languages)] if languages else ""
    order = shuffled([clip for clip in clips if clip.language == language])
    limit = round(seconds * SAMPLE_RATE)
    parts: list[PlanPart] = []
    end = passed = 0
    at = index // max(1, len(languages)) * _STRIDE
    while passed < len(order):
        clip = order[at % len(order)]
        at += 1
        start = end + _SILENCE_SAMPLES if parts else 0
        if start + clip.sample_count > limit:
            passed += 1
            continue
        passed = 0
        parts.append(PlanPart(clip, start))
        end = parts[-1].end_sample
    if not parts:
        raise ValueError(f"no clip of at most {seconds:g} s of the language {language or 'asked for'}")
    return StreamPlan(language, tuple(parts))


def shuffled(items: Sequence[Item], seed: int = _SHUFFLE_SEED) -> list[Item]:
    """A seeded permutation (mulberry32 and Fisher-Yates): neighbours in a manifest are often of one speaker."""
    order = list(items)
    state = seed & _MASK
    for last in range(len(order) - 1, 0, -1):
        state = (state + 0x6D2B79F5) & _MASK
        mixed = ((state ^ (state >> 15)) * (state | 1)) & _MASK
        mixed ^= (mixed + (mixed ^ (mixed >> 7)) * (mixed | 61)) & _MASK
        other = ((mixed ^ (mixed >> 14)) * (last + 1)) >> 32
        order[last], order[other] = order[other], order[last]
    return order

"""Figures of one stream, from moments and messages that the test chooses."""

from __future__ import annotations

import pytest
from conftest import KeptFigures, make_clip

from load_test.ledger import Gap
from load_test.plan import plan_stream
from load_test.stream_record import StreamRecord, Transcript

CLIPS = [make_clip("one", 1, text="one two"), make_clip("three", 1, text="three")]


def final(start: float, end: float, text: str = "", words: object = ()) -> dict[str, object]:
    return {"type": "transcript", "is_final": True, "start": start, "end": end, "text": text, "words": words}


def word(text: str, start: float, end: float) -> dict[str, object]:
    return {"word": text, "start": start, "end": end, "probability": 1}


def started(figures: KeptFigures, frames: int) -> StreamRecord:
    """Frame k was sent at k / 10 s."""
    record = StreamRecord(plan_stream(CLIPS, 0, 3), figures)
    for frame in range(frames):
        record.on_sent(frame / 10)
    return record


@pytest.mark.parametrize(
    ("end", "milliseconds"),
    [(0.05, 2000), (0.1, 2000), (0.11, 1900), (0.3, 1800), (0, 2000), (7, 1700)],
)
def test_a_word_is_as_late_as_the_frame_with_its_last_sample(
    figures: KeptFigures, end: float, milliseconds: float
) -> None:
    record = started(figures, 4)
    record.on_message(final(0, 0.4, "one", [word(" one", 0, end)]), at=2)
    assert figures.words == [milliseconds]


def test_first_text_counts_from_the_first_speech_and_once(figures: KeptFigures) -> None:
    record = started(figures, 10)
    record.on_message({"type": "transcript", "is_final": False, "start": 0, "end": 1, "text": " "}, at=1)
    record.on_message({"type": "transcript", "is_final": False, "start": 0, "end": 1, "text": "on"}, at=1.5)
    record.on_message(final(0, 1, "one"), at=4)
    assert figures.first == [1500]
    assert figures.words == []


def test_finals_and_silence_are_accounted_for(figures: KeptFigures) -> None:
    record = started(figures, 28)
    assert record.sent_samples == 2.8 * 16_000
    record.on_message(final(0, 1.2, "one two"), at=3)
    record.on_message({"type": "no_speech", "start": 1.2, "end": 2}, at=3)
    record.on_message(final(2.5, 2.8, "three"), at=4)
    record.on_message({"type": "end", "audio_seconds": 2.8, "segments": 2}, at=4)
    record.ledger.close(record.sent_samples / 16_000)
    assert record.has_ended
    assert record.ledger.gaps == [Gap("lost", 2, 0.5)]
    assert record.transcribed_seconds == pytest.approx(1.5)
    first, second = (part.clip.text for part in plan_stream(CLIPS, 0, 3).parts)
    assert record.transcript() == Transcript(f"{first} {second}", "one two three")


def test_of_a_stream_that_is_cut_short_only_whole_clips_count(figures: KeptFigures) -> None:
    record = started(figures, 20)
    words = [word(" one", 0, 0.4), word(" two", 0.5, 1.05), word(" thr", 1.9, 2)]
    record.on_message(final(0, 2, "one two thr", words), at=3)
    assert record.transcript() == Transcript(plan_stream(CLIPS, 0, 3).parts[0].clip.text, "one two")
    assert started(figures, 9).transcript() is None


def test_full_at_the_start_is_a_refusal_and_later_a_loss(figures: KeptFigures) -> None:
    refusal = {"type": "error", "code": "overloaded", "message": "", "retry_after": 12}
    record = started(figures, 4)
    record.on_message(refusal, at=1)
    assert (record.was_refused, record.retry_after_seconds) == (True, 12)
    record = started(figures, 4)
    record.on_message(final(0, 0.4), at=1)
    record.on_message(refusal, at=1)
    assert (record.was_refused, record.error) == (False, "overloaded")
    record = started(figures, 4)
    record.on_message({"type": "going_away"}, at=1)
    assert record.error == "going_away"

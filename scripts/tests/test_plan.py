"""What streams play."""

from __future__ import annotations

import pytest
from conftest import make_clip

from load_test.audio import SAMPLE_RATE
from load_test.plan import plan_stream, shuffled

CLIPS = [make_clip(str(seconds), seconds) for seconds in (2, 3, 5, 7, 11, 13, 17, 19, 23)]


def test_streams_play_what_those_of_the_capacity_benchmark_play() -> None:
    # as bench/capacity/plan.ts gives them
    assert shuffled(range(12)) == [4, 6, 11, 3, 9, 8, 7, 2, 5, 0, 1, 10]
    expected = {
        0: [("13", 0), ("17", 220_800), ("5", 505_600), ("2", 598_400)],
        1: [("2", 0), ("19", 44_800), ("13", 361_600), ("3", 582_400)],
        5: [("19", 0), ("13", 316_800), ("5", 537_600)],
    }
    for index, parts in expected.items():
        plan = plan_stream(CLIPS, index, 40)
        assert [(part.clip.name, part.start_sample) for part in plan.parts] == parts


def test_a_stream_ends_with_a_clip_within_its_time() -> None:
    for index in range(20):
        plan = plan_stream(CLIPS, index, 60)
        assert plan.sample_count == plan.parts[-1].end_sample <= 60 * SAMPLE_RATE
        # the shortest clip and its silence would not have fitted any more
        assert plan.sample_count + 2.8 * SAMPLE_RATE > 60 * SAMPLE_RATE
        assert len(plan.pcm()) == 2 * plan.sample_count
        assert plan.frame_count == -(-plan.sample_count // 1600)


def test_the_audio_is_in_its_place() -> None:
    loud = make_clip("loud", 1)
    object.__setattr__(loud, "pcm", b"\x10\x20" * SAMPLE_RATE)
    pcm = plan_stream([loud], 0, 3).pcm()
    second, silence = 2 * SAMPLE_RATE, round(1.6 * SAMPLE_RATE)
    assert pcm == loud.pcm + bytes(silence) + loud.pcm
    assert len(pcm) == 2 * second + silence


def test_with_several_languages_each_stream_speaks_one() -> None:
    clips = [*CLIPS, make_clip("guten-tag", 2, "de"), make_clip("bonjour", 2, "fr")]
    languages = []
    for index in range(6):
        plan = plan_stream(clips, index, 30)
        assert {part.clip.language for part in plan.parts} == {plan.language}
        languages.append(plan.language)
    assert languages == ["de", "en", "fr"] * 2
    assert plan_stream(clips, 1, 30) == plan_stream(CLIPS, 0, 30)


@pytest.mark.parametrize("clips", [[], CLIPS])
def test_where_nothing_fits_it_says_so(clips: list[object]) -> None:
    with pytest.raises(ValueError, match="no clip of at most 1 s"):
        plan_stream(clips, 0, 1)  # type: ignore[arg-type]

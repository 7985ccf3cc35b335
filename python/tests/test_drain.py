"""Silence of health checks is the end of a replica only where the controller is there to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from harness import eventually

from whisper_serve.drain import DrainWatch, HealthSilence


def _check(silence: HealthSilence, now: float, lasting: float = 0) -> None:
    silence.check_started(now)
    silence.check_ended(now + lasting)


def _checked_every(seconds: float, times: int, silence: HealthSilence) -> float:
    now = 100.0
    for _ in range(times):
        now += seconds
        _check(silence, now)
    return now


@pytest.mark.parametrize(
    ("period", "after", "is_suspicious"),
    [(2.0, 5.9, False), (2.0, 6.1, True), (5.0, 14.9, False), (5.0, 15.1, True), (0.1, 2.9, False), (0.1, 3.1, True)],
)
def test_three_periods_without_a_check_are_suspicious(period: float, after: float, is_suspicious: bool) -> None:
    silence = HealthSilence()
    now = _checked_every(period, 5, silence)
    assert silence.is_suspicious(now + after) is is_suspicious


def test_a_replica_that_was_never_asked_is_not_silent() -> None:
    silence = HealthSilence()
    assert not silence.is_suspicious(1e9)
    _check(silence, 0)
    assert not silence.is_suspicious(1e9)


def test_one_late_check_does_not_make_the_periods_longer() -> None:
    silence = HealthSilence()
    now = _checked_every(2, 5, silence)
    _check(silence, now + 5.5)
    assert silence.is_suspicious(now + 5.5 + 6.1)


def test_an_outage_of_the_controller_is_not_a_period() -> None:
    silence = HealthSilence()
    now = _checked_every(2, 1, silence)
    silence.start_again(now + 60)
    _check(silence, now + 61)
    assert not silence.is_suspicious(1e9)
    _check(silence, now + 63)
    assert silence.is_suspicious(now + 63 + 6.1)


def test_silence_counts_anew_after_an_outage() -> None:
    silence = HealthSilence()
    now = _checked_every(2, 5, silence)
    silence.start_again(now + 10)
    assert not silence.is_suspicious(now + 15.9)
    assert silence.is_suspicious(now + 16.1)


@pytest.mark.parametrize("period", [1.0, 2.0])
def test_while_an_answer_is_awaited_nobody_can_ask_again(period: float) -> None:
    silence = HealthSilence()
    now = _checked_every(period, 5, silence)
    silence.check_started(now + period)
    assert not silence.is_suspicious(now + period + 60)
    silence.check_ended(now + period + 60)
    longest = max(3 * period, 3)
    assert not silence.is_suspicious(now + period + 60 + longest - 0.1)
    assert silence.is_suspicious(now + period + 60 + longest + 0.1)


def test_the_time_of_an_answer_is_no_period_of_its_own() -> None:
    silence = HealthSilence()
    for number in range(5):
        _check(silence, 100 + 5 * number, lasting=4.9)
    assert not silence.is_suspicious(124.9 + 14.9)
    assert silence.is_suspicious(124.9 + 15.1)


def test_a_check_that_was_given_up_and_asked_again_does_not_hide_the_other() -> None:
    silence = HealthSilence()
    now = _checked_every(2, 5, silence)
    silence.check_started(now + 2)
    silence.check_started(now + 4)
    silence.check_ended(now + 5)
    assert not silence.is_suspicious(now + 60)
    silence.check_ended(now + 60)
    assert silence.is_suspicious(now + 67)


class _Controller:
    def __init__(self, answers: bool) -> None:
        self.answers = answers
        self.asked = 0
        self.on_asked: Callable[[], None] = lambda: None

    async def __call__(self) -> bool:
        self.asked += 1
        self.on_asked()
        return self.answers


def _answer_at_once(watch: DrainWatch) -> None:
    with watch.check():
        pass


async def _watch(controller: _Controller, on_drain: Callable[[], None]) -> tuple[DrainWatch, asyncio.Task[None]]:
    """A replica that was asked after a few times, and is not any more."""
    watch = DrainWatch(controller, on_drain, HealthSilence(min_silence_seconds=0.3), second_look_seconds=0.01)
    for _ in range(3):
        _answer_at_once(watch)
        await asyncio.sleep(0)
    return watch, asyncio.create_task(watch.run())


async def test_a_silent_replica_of_a_live_controller_drains_once() -> None:
    drained: list[bool] = []
    _, task = await _watch(_Controller(answers=True), lambda: drained.append(True))
    await asyncio.wait_for(task, 5)
    assert drained == [True]


async def test_a_silent_replica_of_a_dead_controller_goes_on_until_it_is_back() -> None:
    drained: list[bool] = []
    controller = _Controller(answers=False)
    _, task = await _watch(controller, lambda: drained.append(True))
    await eventually(lambda: controller.asked >= 2)
    assert drained == []
    controller.answers = True
    await asyncio.wait_for(task, 5)
    assert drained == [True]


async def test_a_check_that_comes_while_the_controller_is_asked_keeps_the_replica() -> None:
    drained: list[bool] = []
    controller = _Controller(answers=True)
    watch, task = await _watch(controller, lambda: drained.append(True))
    controller.on_asked = lambda: _answer_at_once(watch)
    await eventually(lambda: controller.asked >= 2)
    assert drained == []
    task.cancel()


async def test_a_check_that_fails_has_ended() -> None:
    drained: list[bool] = []
    watch, task = await _watch(_Controller(answers=True), lambda: drained.append(True))
    with pytest.raises(RuntimeError), watch.check():
        raise RuntimeError
    await asyncio.wait_for(task, 5)
    assert drained == [True]

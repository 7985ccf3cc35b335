"""Silence of health checks is the end of a replica only where the controller is there to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from harness import eventually

from whisper_serve.drain import DrainWatch, HealthSilence


def _checked_every(seconds: float, times: int, silence: HealthSilence) -> float:
    now = 100.0
    for _ in range(times):
        now += seconds
        silence.heard(now)
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
    silence.heard(0)
    assert not silence.is_suspicious(1e9)


def test_one_late_check_does_not_make_the_periods_longer() -> None:
    silence = HealthSilence()
    now = _checked_every(2, 5, silence)
    silence.heard(now + 5.5)
    assert silence.is_suspicious(now + 5.5 + 6.1)


def test_an_outage_of_the_controller_is_not_a_period() -> None:
    silence = HealthSilence()
    now = _checked_every(2, 1, silence)
    silence.start_again(now + 60)
    silence.heard(now + 61)
    assert not silence.is_suspicious(1e9)
    silence.heard(now + 63)
    assert silence.is_suspicious(now + 63 + 6.1)


def test_silence_counts_anew_after_an_outage() -> None:
    silence = HealthSilence()
    now = _checked_every(2, 5, silence)
    silence.start_again(now + 10)
    assert not silence.is_suspicious(now + 15.9)
    assert silence.is_suspicious(now + 16.1)


class _Controller:
    def __init__(self, answers: bool) -> None:
        self.answers = answers
        self.asked = 0
        self.on_asked: Callable[[], None] = lambda: None

    async def __call__(self) -> bool:
        self.asked += 1
        self.on_asked()
        return self.answers


async def _watch(controller: _Controller, on_drain: Callable[[], None]) -> tuple[DrainWatch, asyncio.Task[None]]:
    """A replica that was asked after a few times, and is not any more."""
    watch = DrainWatch(controller, on_drain, HealthSilence(min_silence_seconds=0.3), second_look_seconds=0.01)
    for _ in range(3):
        watch.heard()
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
    controller.on_asked = watch.heard
    await eventually(lambda: controller.asked >= 2)
    assert drained == []
    task.cancel()

"""Tells that a replica is to go. Serve says so to no one: it stops asking after its health, and lets its requests end.

The same silence comes of a controller that is down, and then every replica would drain at once. So silence counts only
where the controller answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from statistics import median

logger = logging.getLogger("ray.serve")

_SILENT_PERIODS = 3
_REMEMBERED_PERIODS = 5
_MIN_SILENCE_SECONDS = 3.0
_LOOKS_PER_SECOND = 2
# A controller that was held up answers questions first, and asks its own after.
_SECOND_LOOK_SECONDS = 1.0


class HealthSilence:
    """How long nobody asked, measured by how often they do. Times are seconds of one monotonic clock."""

    def __init__(self, min_silence_seconds: float = _MIN_SILENCE_SECONDS) -> None:
        self._min_silence_seconds = min_silence_seconds
        self._periods: deque[float] = deque(maxlen=_REMEMBERED_PERIODS)
        self._checks = 0
        self._last_start: float | None = None
        self._since: float | None = None
        self._was_interrupted = False

    def check_started(self, now: float) -> None:
        """Somebody asked after the replica's health."""
        if self._last_start is not None and not self._was_interrupted:
            self._periods.append(now - self._last_start)
        self._last_start = self._since = now
        self._was_interrupted = False
        self._checks += 1

    def check_ended(self, now: float) -> None:
        """They have their answer. Serve asks nothing while it waits for one, so silence counts from here."""
        self._checks -= 1
        self._since = now

    def start_again(self, now: float) -> None:
        """The silence until now has another reason."""
        self._since = now
        self._was_interrupted = True

    def is_suspicious(self, now: float) -> bool:
        """Whether the silence is longer than three usual periods. Until there have been two questions it is never."""
        if self._since is None or not self._periods or self._checks > 0:
            return False
        return now - self._since > max(_SILENT_PERIODS * median(self._periods), self._min_silence_seconds)


class DrainWatch:
    """Calls `on_drain` once, when the replica is to go."""

    def __init__(
        self,
        controller_answers: Callable[[], Awaitable[bool]],
        on_drain: Callable[[], None],
        silence: HealthSilence | None = None,
        second_look_seconds: float = _SECOND_LOOK_SECONDS,
    ) -> None:
        self._controller_answers = controller_answers
        self._on_drain = on_drain
        self._silence = silence or HealthSilence()
        self._second_look_seconds = second_look_seconds

    @contextlib.contextmanager
    def check(self) -> Iterator[None]:
        """Around the answer to somebody who asks after the replica's health."""
        self._silence.check_started(time.monotonic())
        try:
            yield
        finally:
            self._silence.check_ended(time.monotonic())

    async def run(self) -> None:
        """Returns when it has called; cancel it where the replica ends otherwise."""
        while True:
            await asyncio.sleep(1 / _LOOKS_PER_SECOND)
            if not self._silence.is_suspicious(time.monotonic()):
                continue
            if not await self._controller_answers():
                logger.warning("the Serve controller does not answer; this replica goes on")
                self._silence.start_again(time.monotonic())
                continue
            await asyncio.sleep(self._second_look_seconds)
            if self._silence.is_suspicious(time.monotonic()):
                logger.info("no health check for three periods: this replica is to go, draining")
                self._on_drain()
                return

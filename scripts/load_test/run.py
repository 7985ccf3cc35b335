"""One run of the load test on one node: what its users share, and how it ends in order."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from typing import Protocol

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import CSV_STATS_INTERVAL_SEC

from .audio import Clip, load_clips
from .options import LoadOptions, read_options
from .plan import StreamPlan, plan_stream
from .statistics import Recorder, Totals
from .summary import format_summary

# Streams of different nodes begin at different clips.
_STREAMS_A_NODE = 10_007
_FINISH_MESSAGE = "finish_streams"
_POLL_SECONDS = 0.1
_GOLDEN_RATIO = 0.6180339887498949


class Interruptible(Protocol):
    def interrupt(self) -> None: ...


class Run:
    """Made once for each process; `start` readies it for a test, and again for the next."""

    def __init__(self, environment: Environment) -> None:
        self.totals = Totals()
        self.recorder = Recorder(environment, self.totals)
        self.options = self._read_options(environment)
        self.clips: Sequence[Clip] = ()
        self.users: set[Interruptible] = set()
        # the test is over: streams send no more and become final
        self.is_finishing = False
        self.was_started = False
        self._environment = environment
        self._loaded: tuple[object, ...] | None = None
        self._streams = itertools.count()
        self._users = itertools.count()
        if isinstance(environment.runner, WorkerRunner):
            environment.runner.register_message(_FINISH_MESSAGE, lambda **_: self._interrupt_users())

    @property
    def makes_load(self) -> bool:
        return not isinstance(self._environment.runner, MasterRunner)

    def load(self) -> None:
        """Fetches and decodes what the options ask for, unless it is there. Raises AudioError or ValueError."""
        self.options = self._read_options(self._environment)
        wanted = (self.options.audio_folder, self.options.language, self.options.stream_seconds)
        if self.makes_load and wanted != self._loaded:
            self.clips = load_clips(*wanted)
            self._loaded = wanted
            # so that the time this took is not taken from --run-time
            gevent.get_hub().loop.update_now()

    def check_host(self) -> None:
        if not str(self._environment.host).startswith(("http://", "https://")):
            raise ValueError("--host: expected a URL such as http://localhost:8000")

    def start(self) -> None:
        """Raises AudioError or ValueError."""
        self.check_host()
        self.load()
        self.is_finishing = False
        self.totals.clear()
        self.was_started = True
        first = getattr(self._environment.runner, "worker_index", 0) * _STREAMS_A_NODE
        self._streams = itertools.count(first)
        self._users = itertools.count()

    def next_plan(self) -> StreamPlan:
        return plan_stream(self.clips, self.next_number(), self.options.stream_seconds)

    def next_number(self) -> int:
        """Of a stream, or of whoever else wants clips in an order of its own."""
        return next(self._streams)

    def next_user_delay(self) -> float:
        """Seconds that spread the beginnings of any number of users evenly over a chunk: no two chunks end together."""
        return next(self._users) * _GOLDEN_RATIO % 1 * self.options.chunk_duration

    def finish(self) -> None:
        """Streams end in order. A master waits for its workers here: at its own end Locust gives them half a second."""
        self._interrupt_users()
        runner = self._environment.runner
        if not isinstance(runner, MasterRunner):
            return
        runner.send_message(_FINISH_MESSAGE)
        deadline = time.monotonic() + self._environment.stop_timeout
        # a worker reports that its users are gone together with the last of their statistics
        while runner.user_count > 0 and time.monotonic() < deadline:
            gevent.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Before the process ends: decides on its exit code beyond what Locust does."""
        environment = self._environment
        if not self.was_started or isinstance(environment.runner, WorkerRunner):
            return
        assert environment.runner is not None
        # after Ctrl-C users still run; otherwise it does nothing
        environment.runner.stop()
        if self.totals.transcribed_seconds == 0:
            logging.error("No audio was transcribed at all: nothing was tested. Exit code 1.")
            environment.process_exit_code = 1
        if environment.parsed_options is not None and environment.parsed_options.csv_prefix:
            # Locust writes these files once a second, and not again at the end.
            gevent.sleep(CSV_STATS_INTERVAL_SEC + 2 * _POLL_SECONDS)

    def summary(self) -> str:
        return format_summary(self._environment.stats, self.totals)

    def _interrupt_users(self) -> None:
        self.is_finishing = True
        for user in list(self.users):
            user.interrupt()

    @staticmethod
    def _read_options(environment: Environment) -> LoadOptions:
        assert environment.parsed_options is not None
        return read_options(environment.parsed_options)

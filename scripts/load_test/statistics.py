"""What is measured, in Locust's own statistics, so that its page, CSV files and report show it.

Response times go through Locust's request event and count towards its line `Aggregated` and its charts. Figures of
another kind or unit have the type `stat` and lines of their own only: an average of milliseconds and percent would mean
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from locust.env import Environment

from .ledger import CoverageLedger
from .word_errors import ErrorCount

WORD_FINAL = "/stream word-final latency ms"
FIRST_TEXT = "/stream first text ms"
END = "/stream end ms"
CONNECT = "/stream connect ms"
STREAM_WER = "/stream WER %"
LOST = "/stream lost audio ms"
DOUBLED = "/stream doubled audio ms"
STREAM_REFUSED = "/stream refused; asked to wait ms"
TRANSCRIBE = "/transcribe"
REST_WER = "/transcribe WER %"
REST_SPEED = "/transcribe ms a second of audio"
REST_REFUSED = "/transcribe refused; asked to wait ms"
LATE = "generator late ms"

STAT = "stat"
STREAM = "WS"
POST = "POST"
_WORKER_REPORT_KEY = "load_test_totals"


class LoadTestError(Exception):
    """Names a failure in Locust's statistics."""


@dataclass
class Totals:
    """Sums that Locust's statistics cannot hold; workers send theirs to the master."""

    streams_done: int = 0
    streams_broken: int = 0
    streams_refused: int = 0
    sent_seconds: float = 0.0
    transcribed_seconds: float = 0.0
    lost_seconds: float = 0.0
    doubled_seconds: float = 0.0
    stream_errors: int = 0
    stream_words: int = 0
    files_done: int = 0
    files_refused: int = 0
    file_seconds: float = 0.0
    file_errors: int = 0
    file_words: int = 0

    def add(self, other: Mapping[str, Any]) -> None:
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + other[entry.name])

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def report_to_master(self, data: dict[str, Any]) -> None:
        """What came since the last report."""
        data[_WORKER_REPORT_KEY] = asdict(self)
        self.clear()

    def take_worker_report(self, data: Mapping[str, Any]) -> None:
        if _WORKER_REPORT_KEY in data:
            self.add(data[_WORKER_REPORT_KEY])


def bucket_response_time(response_time: int | float) -> int:
    """Three digits instead of Locust's two: 4,960 ms and 5,040 ms are not both 5,000."""
    if response_time < 1000:
        return round(response_time)
    return int(round(response_time, -1 if response_time < 10_000 else -2))


class Recorder:
    """Writes into the statistics of one process."""

    def __init__(self, environment: Environment, totals: Totals) -> None:
        self._environment = environment
        self._totals = totals

    def word_final(self, milliseconds: float) -> None:
        self._respond(WORD_FINAL, milliseconds)

    def first_text(self, milliseconds: float) -> None:
        self._respond(FIRST_TEXT, milliseconds)

    def connected(self, milliseconds: float) -> None:
        self._measure(CONNECT, milliseconds)

    def frame_late(self, milliseconds: float) -> None:
        self._measure(LATE, milliseconds)

    def stream_done(self, end_milliseconds: float, transcribed_seconds: float) -> None:
        self._totals.streams_done += 1
        self._totals.transcribed_seconds += transcribed_seconds
        self._respond(END, end_milliseconds)

    def stream_broken(self, reason: str, transcribed_seconds: float) -> None:
        self._totals.streams_broken += 1
        self._totals.transcribed_seconds += transcribed_seconds
        self._respond(END, None, LoadTestError(reason))

    def coverage(self, ledger: CoverageLedger, sent_seconds: float) -> None:
        """A stream is over: every gap is a failure."""
        self._totals.sent_seconds += sent_seconds
        self._totals.lost_seconds += ledger.total("lost")
        self._totals.doubled_seconds += ledger.total("doubled")
        for kind, name in (("lost", LOST), ("doubled", DOUBLED)):
            gaps = [gap for gap in ledger.gaps if gap.kind == kind]
            for gap in gaps:
                self._measure(name, gap.seconds * 1000)
                self._fail(name, f"audio {kind}")
            if not gaps:
                self._measure(name, 0)

    def stream_errors(self, count: ErrorCount) -> None:
        self._totals.stream_errors += count.errors
        self._totals.stream_words += count.length
        self._measure(STREAM_WER, count.percent)

    def stream_refused(self, wait_seconds: float, reason: str, is_failure: bool) -> None:
        self._totals.streams_refused += 1
        self._refuse(STREAM_REFUSED, wait_seconds, reason, is_failure)

    def file_refused(self, wait_seconds: float, reason: str, is_failure: bool) -> None:
        self._totals.files_refused += 1
        self._refuse(REST_REFUSED, wait_seconds, reason, is_failure)

    def file_broken(self, milliseconds: float, reason: str) -> None:
        self._respond(TRANSCRIBE, milliseconds, LoadTestError(reason), request_type=POST)

    def file_done(self, milliseconds: float, audio_seconds: float, has_text: bool, count: ErrorCount | None) -> None:
        self._respond(TRANSCRIBE, milliseconds, request_type=POST)
        self._totals.files_done += 1
        self._totals.file_seconds += audio_seconds
        if has_text:
            self._totals.transcribed_seconds += audio_seconds
        self._measure(REST_SPEED, milliseconds / audio_seconds)
        if count is not None:
            self._totals.file_errors += count.errors
            self._totals.file_words += count.length
            self._measure(REST_WER, count.percent)

    def _refuse(self, name: str, wait_seconds: float, reason: str, is_failure: bool) -> None:
        self._measure(name, wait_seconds * 1000)
        if is_failure:
            self._fail(name, reason)

    def _respond(
        self, name: str, milliseconds: float | None, exception: Exception | None = None, request_type: str = STREAM
    ) -> None:
        self._environment.events.request.fire(
            request_type=request_type,
            name=name,
            response_time=milliseconds,
            response_length=0,
            exception=exception,
            context={},
        )

    def _measure(self, name: str, value: float) -> None:
        self._environment.stats.get(name, STAT).log(value, 0)  # type: ignore[arg-type]

    def _fail(self, name: str, reason: str) -> None:
        self._environment.stats.log_error(STAT, name, LoadTestError(reason))

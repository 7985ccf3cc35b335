"""What lands in Locust's statistics, and the summary of it."""

from __future__ import annotations

import pytest
from locust.env import Environment
from locust.event import Events

from load_test import statistics
from load_test.ledger import CoverageLedger
from load_test.statistics import STAT, STREAM, Recorder, Totals, bucket_response_time
from load_test.summary import format_summary
from load_test.word_errors import ErrorCount


@pytest.fixture
def environment() -> Environment:
    made = Environment(events=Events())
    made.create_local_runner()
    return made


def record_all(environment: Environment, totals: Totals) -> Recorder:
    recorder = Recorder(environment, totals)
    for milliseconds in (1000, 2000, 4000):
        recorder.word_final(milliseconds)
    recorder.first_text(1500)
    recorder.frame_late(0.2)
    clean = CoverageLedger()
    clean.cover(0, 10)
    clean.close(10)
    recorder.coverage(clean, 10)
    recorder.stream_done(700, 8)
    recorder.stream_errors(ErrorCount(1, 30))
    recorder.stream_errors(ErrorCount(3, 10))
    recorder.stream_refused(6, "HTTP 503", is_failure=False)
    recorder.file_done(500, 10, True, ErrorCount(0, 20))
    return recorder


def test_only_response_times_are_in_the_aggregated_line(environment: Environment) -> None:
    record_all(environment, Totals())
    stats = environment.stats
    assert stats.total.num_requests == 6
    assert stats.get(statistics.WORD_FINAL, STREAM).num_requests == 3
    assert stats.get(statistics.STREAM_WER, STAT).avg_response_time == pytest.approx((100 / 30 + 30) / 2)
    assert stats.get(statistics.REST_SPEED, STAT).avg_response_time == 50
    assert stats.errors == {}


def test_gaps_breaks_and_wished_refusals_are_failures(environment: Environment) -> None:
    recorder = Recorder(environment, Totals())
    torn = CoverageLedger()
    torn.cover(1, 5)
    torn.cover(4, 6)
    torn.cover(8, 9)
    torn.close(9)
    recorder.coverage(torn, 9)
    recorder.stream_broken("closed with 1006 before its end", 0)
    recorder.stream_refused(6, "HTTP 503", is_failure=True)
    recorder.file_broken(10, "HTTP 500")
    found = {(error.name, str(error.error), error.occurrences) for error in environment.stats.errors.values()}
    assert found == {
        (statistics.LOST, "audio lost", 2),
        (statistics.DOUBLED, "audio doubled", 1),
        (statistics.END, "closed with 1006 before its end", 1),
        (statistics.STREAM_REFUSED, "HTTP 503", 1),
        (statistics.TRANSCRIBE, "HTTP 500", 1),
    }
    lost = environment.stats.get(statistics.LOST, STAT)
    assert (lost.num_requests, lost.num_failures, lost.max_response_time) == (2, 2, 2000)


def test_totals_travel_from_workers_to_the_master(environment: Environment) -> None:
    worker, master = Totals(), Totals()
    record_all(environment, worker)
    for _ in range(2):
        data: dict[str, object] = {}
        worker.report_to_master(data)
        master.take_worker_report(data)
    assert (master.streams_done, master.stream_errors, master.stream_words) == (1, 4, 40)
    assert (master.transcribed_seconds, worker) == (18, Totals())


def test_the_summary_pools_word_errors(environment: Environment) -> None:
    totals = Totals()
    record_all(environment, totals)
    summary = format_summary(environment.stats, totals)
    for line in (
        "1 ended in order, 0 broken, 1 refused; 10.0 s of speech",
        "p50 2.00 s, p95 4.00 s, p99 4.00 s (3 words)",
        "word errors        10.00 % of 40 words",
        "0.000 s lost, 0.000 s doubled",
        "1 done, 0 refused; 10.0 s of speech",
        "real-time factor   p50 0.050",
        "word errors, files 0.00 % of 20 words",
    ):
        assert line in summary
    assert "--processes" not in summary


def test_the_summary_says_when_the_generator_was_late(environment: Environment) -> None:
    Recorder(environment, Totals()).frame_late(40)
    assert "--processes" in format_summary(environment.stats, Totals())


@pytest.mark.parametrize(("value", "bucket"), [(0.4, 0), (99.6, 100), (996, 996), (4963, 4960), (12_345, 12_300)])
def test_buckets_keep_three_digits(value: float, bucket: int) -> None:
    assert bucket_response_time(value) == bucket

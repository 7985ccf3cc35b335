"""What a child counts arrives in Ray's metrics exactly, whatever was read in between."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from whisper_serve.metrics import MetricsRelay


class _Recorder:
    """Adds up as Ray does."""

    def __init__(self) -> None:
        self.counters: dict[str, float] = defaultdict(float)
        self.gauges: dict[str, float] = {}
        self.descriptions: dict[str, str] = {}

    def count(self, name: str, description: str, labels: Mapping[str, str], amount: float) -> None:
        assert amount > 0  # or Ray would raise
        self.counters[f"{name}{dict(labels)}"] += amount
        self.descriptions[name] = description

    def gauge(self, name: str, description: str, labels: Mapping[str, str], value: float) -> None:
        self.gauges[f"{name}{dict(labels)}"] = value
        self.descriptions[name] = description


def test_counters_add_up_and_gauges_are_as_they_are() -> None:
    recorder = _Recorder()
    relay = MetricsRelay(recorder)
    for count, gauge in [(2, "1.5"), (2, "0"), (7.5, "+Inf")]:
        relay.record(
            "# HELP whisper_errors_total Errors sent.\n# TYPE whisper_errors_total counter\n"
            f'whisper_errors_total{{code="internal"}} {count}\nwhisper_errors_total{{code="timeout"}} 0\n'
            f"# HELP whisper_open Open.\n# TYPE whisper_open gauge\nwhisper_open {gauge}\n"
            "# HELP process_cpu_seconds_total Not ours.\n# TYPE process_cpu_seconds_total counter\n"
            "process_cpu_seconds_total 4\n"
        )
    assert recorder.counters == {"whisper_errors_total{'code': 'internal'}": 7.5}
    assert recorder.gauges == {"whisper_open{}": math.inf}
    assert recorder.descriptions == {"whisper_errors_total": "Errors sent.", "whisper_open": "Open."}


def test_a_histogram_has_its_buckets_its_sum_and_its_count() -> None:
    recorder = _Recorder()
    relay = MetricsRelay(recorder)
    for low, high, total in [(1, 1, 0.25), (1, 3, 70.125)]:
        relay.record(
            "# HELP whisper_wait_seconds Waits.\n# TYPE whisper_wait_seconds histogram\n"
            f'whisper_wait_seconds_bucket{{le="0.5",priority="final"}} {low}\n'
            f'whisper_wait_seconds_bucket{{le="+Inf",priority="final"}} {high}\n'
            f'whisper_wait_seconds_sum{{priority="final"}} {total}\n'
            f'whisper_wait_seconds_count{{priority="final"}} {high}\n'
        )
    assert recorder.counters == {}
    assert recorder.gauges == {
        "whisper_wait_seconds_bucket{'le': '0.5', 'priority': 'final'}": 1,
        "whisper_wait_seconds_bucket{'le': '+Inf', 'priority': 'final'}": 3,
        "whisper_wait_seconds_sum{'priority': 'final'}": 70.125,
        "whisper_wait_seconds_count{'priority': 'final'}": 3,
    }


def test_larger_buckets_are_recorded_before_smaller_ones() -> None:
    recorder = _Recorder()
    MetricsRelay(recorder).record(
        "# TYPE whisper_h histogram\n"
        'whisper_h_bucket{le="1"} 1\nwhisper_h_bucket{le="2"} 2\nwhisper_h_bucket{le="+Inf"} 3\n'
        "whisper_h_sum 9\nwhisper_h_count 3\n"
    )
    buckets = [name for name in recorder.gauges if "bucket" in name]
    assert buckets == ["whisper_h_bucket{'le': '+Inf'}", "whisper_h_bucket{'le': '2'}", "whisper_h_bucket{'le': '1'}"]

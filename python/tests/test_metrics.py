"""What a child counts arrives in Ray's metrics exactly, whatever was read in between."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping

import pytest

from whisper_serve.metrics import MetricsRelay, observations

BOUNDS = [0.1, 0.5, 2.0, 10.0, math.inf]


class _Recorder:
    """Adds up as Ray does."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, str], float] = defaultdict(float)
        self.gauges: dict[tuple[str, str], float] = {}
        self.counts: dict[tuple[str, str], list[int]] = {}
        self.sums: dict[tuple[str, str], float] = defaultdict(float)
        self.descriptions: dict[str, str] = {}

    def count(self, name: str, description: str, labels: Mapping[str, str], amount: float) -> None:
        self.counters[name, str(labels)] += amount
        self.descriptions[name] = description

    def gauge(self, name: str, description: str, labels: Mapping[str, str], value: float) -> None:
        self.gauges[name, str(labels)] = value
        self.descriptions[name] = description

    def observe(
        self, name: str, description: str, labels: Mapping[str, str], bounds: list[float], value: float
    ) -> None:
        counts = self.counts.setdefault((name, str(labels)), [0] * len(bounds))
        counts[_bucket(bounds, value)] += 1
        self.sums[name, str(labels)] += value


def _bucket(bounds: list[float], value: float) -> int:
    return next(index for index, bound in enumerate(bounds) if value <= bound)


def _histogram(values: list[float], labels: str = "") -> str:
    """As prom-client writes it."""
    comma = "," if labels else ""
    lines = ["# HELP whisper_h Seconds.", "# TYPE whisper_h histogram"]
    for bound in BOUNDS:
        count = sum(value <= bound for value in values)
        le = "+Inf" if bound == math.inf else repr(bound)
        lines.append(f'whisper_h_bucket{{le="{le}"{comma}{labels}}} {count}')
    braces = f"{{{labels}}}" if labels else ""
    lines += [f"whisper_h_sum{braces} {math.fsum(values)!r}", f"whisper_h_count{braces} {len(values)}"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0],
        [0.1, 0.5, 2.0, 10.0],
        [0.05, 0.3, 0.3, 1.0, 7.0],
        [50.0],
        [10.0000001],
        [0.01, 20.0, 3000.0],
        [0.1] * 1000,
        [0.1000001, 0.5000001, 2.0000001],
    ],
)
def test_observations_fill_the_same_buckets_and_have_the_same_sum(values: list[float]) -> None:
    counts = [0.0] * len(BOUNDS)
    for value in values:
        counts[_bucket(BOUNDS, value)] += 1
    made = [value for value, times in observations(BOUNDS, counts, math.fsum(values)) for _ in range(times)]
    for index in range(len(BOUNDS)):
        assert sum(_bucket(BOUNDS, value) == index for value in made) == counts[index]
    assert math.fsum(made) == pytest.approx(math.fsum(values), rel=1e-12, abs=1e-12)


async def test_a_histogram_read_at_any_moments_is_the_childs() -> None:
    chance = random.Random(7)  # noqa: S311 (no secret)
    values: list[float] = []
    recorder = _Recorder()
    relay = MetricsRelay(recorder)
    for _ in range(30):
        values += [chance.expovariate(0.5) for _ in range(chance.randrange(20))]
        await relay.record(_histogram(values, 'priority="final"'))
    key = ("whisper_h", "{'priority': 'final'}")
    assert sum(recorder.counts[key]) == len(values)
    for index, bound in enumerate(BOUNDS):
        assert sum(recorder.counts[key][: index + 1]) == sum(value <= bound for value in values)
    assert recorder.sums[key] == pytest.approx(math.fsum(values), rel=1e-9)


async def test_counters_add_up_and_gauges_are_as_they_are() -> None:
    recorder = _Recorder()
    relay = MetricsRelay(recorder)
    for count, gauge in [(2, "1.5"), (2, "0"), (7, "+Inf")]:
        await relay.record(
            "# HELP whisper_errors_total Errors sent.\n# TYPE whisper_errors_total counter\n"
            f'whisper_errors_total{{code="internal"}} {count}\n'
            f"# HELP whisper_open Open.\n# TYPE whisper_open gauge\nwhisper_open {gauge}\n"
            "# HELP process_cpu_seconds_total Not ours.\n# TYPE process_cpu_seconds_total counter\n"
            "process_cpu_seconds_total 4\n"
        )
    assert dict(recorder.counters) == {("whisper_errors_total", "{'code': 'internal'}"): 7}
    assert recorder.gauges == {("whisper_open", "{}"): math.inf}
    assert recorder.descriptions == {"whisper_errors_total": "Errors sent.", "whisper_open": "Open."}


async def test_nothing_new_is_recorded_as_nothing() -> None:
    recorder = _Recorder()
    relay = MetricsRelay(recorder)
    for _ in range(3):
        await relay.record(_histogram([0.2, 30.0]))
    assert recorder.counts == {("whisper_h", "{}"): [0, 1, 0, 0, 1]}
    assert recorder.sums["whisper_h", "{}"] == pytest.approx(30.2)

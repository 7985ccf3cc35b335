"""Brings a child's metrics into Ray's: reads Prometheus text, records what has changed under the same names."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

import aiohttp
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from ray.serve import metrics as serve_metrics

logger = logging.getLogger("ray.serve")

_PREFIX = "whisper_"
_PERIOD_SECONDS = 5.0
# Ray takes observations one by one; the event loop gets a turn after so many.
_OBSERVATIONS_AT_ONCE = 200

Labels = tuple[tuple[str, str], ...]


@dataclass
class HistogramState:
    """What a histogram has counted so far: observations in each bucket (not cumulative), and their sum."""

    counts: list[float]
    total: float


def observations(bounds: list[float], counts: list[float], total: float) -> list[tuple[float, int]]:
    """Values, each with how often it is to be observed, that fall into buckets as `counts` says and add up to `total`.

    `bounds`: upper bounds of the buckets, ascending, +Inf last; a value on a bound belongs to the bucket below it. In
    all finite buckets the value lies at the same share of the way from lower to upper bound; what is left over is the
    last bucket's, which has no end.
    """
    lows = [0.0, *(math.nextafter(bound, math.inf) for bound in bounds[:-1])]
    highs = [*bounds[:-1], lows[-1]]
    least = math.fsum(count * low for count, low in zip(counts, lows, strict=True))
    most = math.fsum(count * high for count, high in zip(counts, highs, strict=True))
    share = min(1.0, max(0.0, (total - least) / (most - least))) if most > least else 0.0
    values = [min(high, low + share * (high - low)) for low, high in zip(lows, highs, strict=True)]
    if counts[-1] > 0:
        values[-1] += max(0.0, total - most) / counts[-1]
    return [(value, round(count)) for value, count in zip(values, counts, strict=True) if count > 0]


class Recorder(Protocol):
    """Where changes go: Ray's metrics."""

    def count(self, name: str, description: str, labels: Mapping[str, str], amount: float) -> None: ...

    def gauge(self, name: str, description: str, labels: Mapping[str, str], value: float) -> None: ...

    def observe(
        self, name: str, description: str, labels: Mapping[str, str], bounds: list[float], value: float
    ) -> None: ...


class RayRecorder:
    """Serve's metrics are Ray's (`ray.util.metrics`), with the names of application, deployment and replica as
    labels."""

    def __init__(self) -> None:
        self._counters: dict[str, serve_metrics.Counter] = {}
        self._gauges: dict[str, serve_metrics.Gauge] = {}
        self._histograms: dict[str, serve_metrics.Histogram] = {}

    def count(self, name: str, description: str, labels: Mapping[str, str], amount: float) -> None:
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = serve_metrics.Counter(name, description, _tag_keys(labels))
        counter.inc(amount, dict(labels))

    def gauge(self, name: str, description: str, labels: Mapping[str, str], value: float) -> None:
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = self._gauges[name] = serve_metrics.Gauge(name, description, _tag_keys(labels))
        gauge.set(value, dict(labels))

    def observe(
        self, name: str, description: str, labels: Mapping[str, str], bounds: list[float], value: float
    ) -> None:
        histogram = self._histograms.get(name)
        if histogram is None:
            histogram = self._histograms[name] = serve_metrics.Histogram(
                name, description, bounds[:-1], _tag_keys(labels)
            )
        histogram.observe(value, dict(labels))


@dataclass
class MetricsRelay:
    """Remembers what was recorded, so that each reading adds only what came since. The child is as old as the replica:
    it starts at 0."""

    recorder: Recorder
    _counted: dict[tuple[str, Labels], float] = field(default_factory=dict)
    _histograms: dict[tuple[str, Labels], HistogramState] = field(default_factory=dict)

    async def record(self, text: str) -> None:
        """`text`: all of /metrics."""
        made = 0
        for family in text_string_to_metric_families(text):
            if not family.name.startswith(_PREFIX):
                continue
            if family.type == "counter":
                self._record_counter(family)
            elif family.type == "gauge":
                for sample in family.samples:
                    self.recorder.gauge(sample.name, family.documentation, sample.labels, sample.value)
            elif family.type == "histogram":
                for labels, bounds, value, times in self._new_observations(family):
                    for _ in range(times):
                        self.recorder.observe(family.name, family.documentation, labels, bounds, value)
                        made += 1
                        if made % _OBSERVATIONS_AT_ONCE == 0:
                            await asyncio.sleep(0)

    def _record_counter(self, family: Metric) -> None:
        for sample in family.samples:
            key = (sample.name, _labels_key(sample.labels))
            amount = sample.value - self._counted.get(key, 0.0)
            self._counted[key] = sample.value
            if amount > 0:
                self.recorder.count(sample.name, family.documentation, sample.labels, amount)

    def _new_observations(self, family: Metric) -> Iterator[tuple[dict[str, str], list[float], float, int]]:
        for labels, bounds, state in _histograms_of(family):
            key = (family.name, labels)
            former = self._histograms.get(key, HistogramState([0.0] * len(bounds), 0.0))
            self._histograms[key] = state
            counts = [now - before for now, before in zip(state.counts, former.counts, strict=True)]
            for value, times in observations(bounds, counts, state.total - former.total):
                yield dict(labels), bounds, value, times


async def relay_metrics(read: Callable[[], Awaitable[str]], recorder: Recorder) -> None:
    """Reads and records for ever; cancel it. A reading that fails is made up for by the next."""
    relay = MetricsRelay(recorder)
    while True:
        await asyncio.sleep(_PERIOD_SECONDS)
        try:
            await relay.record(await read())
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            logger.debug("the child's metrics cannot be read: %s", type(error).__name__)
        except Exception:
            logger.exception("the child's metrics cannot be recorded")


def _histograms_of(family: Metric) -> Iterator[tuple[Labels, list[float], HistogramState]]:
    """The family's histograms by labels, buckets in ascending order."""
    buckets: dict[Labels, dict[float, float]] = {}
    totals: dict[Labels, float] = {}
    for sample in family.samples:
        labels = _labels_key({name: value for name, value in sample.labels.items() if name != "le"})
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, {})[float(sample.labels["le"])] = sample.value
        elif sample.name.endswith("_sum"):
            totals[labels] = sample.value
    for labels, cumulative in buckets.items():
        bounds = sorted(cumulative)
        upto = [cumulative[bound] for bound in bounds]
        counts = [count - before for count, before in zip(upto, [0.0, *upto], strict=False)]
        yield labels, bounds, HistogramState(counts, totals.get(labels, 0.0))


def _tag_keys(labels: Mapping[str, str]) -> tuple[str]:
    """Serve's annotation says one key; it takes any number."""
    return cast("tuple[str]", tuple(labels))


def _labels_key(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))

"""Brings a child's metrics into Ray's: reads Prometheus text, and records what it says under the same names.

Histograms go as gauges, one for each of their series (`…_bucket` with `le`, `…_sum`, `…_count`): to queries that is the
same. A histogram of Ray's would have no true sum: its agent hears the buckets' counts only, and takes every value for
the middle of its bucket (ray/_private/telemetry/open_telemetry_metric_recorder.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, cast

import aiohttp
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from ray.serve import metrics as serve_metrics

logger = logging.getLogger("ray.serve")

_PREFIX = "whisper_"
_PERIOD_SECONDS = 5.0


class Recorder(Protocol):
    """Where changes go: Ray's metrics."""

    def count(self, name: str, description: str, labels: Mapping[str, str], amount: float) -> None:
        """Adds to a counter."""

    def gauge(self, name: str, description: str, labels: Mapping[str, str], value: float) -> None:
        """Sets a gauge."""


class RayRecorder:
    """Serve's metrics are Ray's (`ray.util.metrics`), with application, deployment and replica as labels."""

    def __init__(self) -> None:
        self._counters: dict[str, serve_metrics.Counter] = {}
        self._gauges: dict[str, serve_metrics.Gauge] = {}

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


class MetricsRelay:
    """Remembers what was counted, so that each reading adds what came since. The child starts at 0 with its replica."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._counted: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    def record(self, text: str) -> None:
        """`text`: all of /metrics."""
        for family in text_string_to_metric_families(text):
            if not family.name.startswith(_PREFIX):
                continue
            if family.type == "counter":
                self._add(family)
            else:
                # buckets from the last one down: whoever reads in between finds none that counts more than a larger one
                for sample in reversed(family.samples):
                    self._recorder.gauge(sample.name, family.documentation, sample.labels, sample.value)

    def _add(self, family: Metric) -> None:
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            amount = sample.value - self._counted.get(key, 0.0)
            self._counted[key] = sample.value
            if amount > 0:
                self._recorder.count(sample.name, family.documentation, sample.labels, amount)


async def relay_metrics(read: Callable[[], Awaitable[str]], recorder: Recorder) -> None:
    """Reads and records for ever; cancel it. A reading that fails is made up for by the next."""
    relay = MetricsRelay(recorder)
    while True:
        await asyncio.sleep(_PERIOD_SECONDS)
        try:
            relay.record(await read())
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            logger.debug("the child's metrics cannot be read: %s", type(error).__name__)
        except Exception:
            logger.exception("the child's metrics cannot be recorded")


def _tag_keys(labels: Mapping[str, str]) -> tuple[str]:
    """Serve's annotation says one key; it takes any number."""
    return cast("tuple[str]", tuple(labels))

"""How long to stay away when the service is full."""

from __future__ import annotations

import random
from collections.abc import Mapping

_DEFAULT_SECONDS = 5.0
# The service asks for some time more at random, that those refused together do not come back together.
_MOST_EXTRA = 0.25


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The Retry-After of an answer; None without one, or where it is a date, which the service never sends."""
    for name, value in headers.items():
        if name.lower() == "retry-after" and value.strip().isdigit():
            return float(value)
    return None


def wait_seconds(retry_after: float | None) -> float:
    asked = _DEFAULT_SECONDS if retry_after is None else retry_after
    return asked * (1 + random.uniform(0, _MOST_EXTRA))  # noqa: S311

"""Pings of a WebSocket's client, which rest while Serve does not read.

The answer lies behind what is unread, and uvicorn would take a client that is only held back for a dead one (1011).
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

from .forwarding import Receive

logger = logging.getLogger("ray.serve")


class ClientPings:
    """Those that uvicorn sends to the client behind Serve's `receive`; elsewhere it changes nothing."""

    def __init__(self, receive: Receive) -> None:
        # Serve hands on the method of uvicorn's protocol as it got it
        protocol = getattr(getattr(receive, "_receive", None), "__self__", None)
        self._start = _method(protocol, "start_keepalive")
        self._stop = _method(protocol, "stop_keepalive")

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """A ping that is out is forgotten; the next one comes a whole interval after the end. If the block raises, the
        connection ends, and there is none."""
        if self._start is None or self._stop is None:
            _warn_once()
            yield
            return
        self._stop()
        yield
        # if they have been started meanwhile, a second start would leave two time-outs, one of which nothing ends
        self._stop()
        self._start()


def _method(owner: Any, name: str) -> Callable[[], None] | None:
    method = getattr(owner, name, None)
    return method if callable(method) else None


@functools.cache
def _warn_once() -> None:
    logger.warning(
        "this uvicorn's pings cannot be held: a client that sends much faster than it is read may be closed with 1011"
    )

"""What a child says on its standard error: passed on as it comes, its end remembered to tell why the child died."""

from __future__ import annotations

import asyncio
import os
import sys

_CHUNK_BYTES = 65_536
_KEPT_BYTES = 2_000
_STANDARD_ERROR = 2


class LastWords:
    """Only standard error goes this way: a few lines at the start, and at the end. Log lines are on standard output."""

    def __init__(self) -> None:
        self._tail = b""

    async def pass_on(self, stream: asyncio.StreamReader | None) -> None:
        """Returns when nobody can write to the stream any more."""
        while stream is not None and (chunk := await stream.read(_CHUNK_BYTES)):
            self._tail = (self._tail + chunk)[-_KEPT_BYTES:]
            # as if the child had it itself
            sys.stderr.flush()
            os.write(_STANDARD_ERROR, chunk)

    @property
    def line(self) -> str:
        """The last one that is not empty; empty where nothing was said."""
        lines = self._tail.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

"""A Node.js process that a replica owns: started on a Unix socket, watched, asked how it is, ended with the replica."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping, Sequence

import aiohttp

from .child_client import open_session
from .last_words import LastWords

logger = logging.getLogger("ray.serve")

_POLL_SECONDS = 0.02
_LAST_WORDS_SECONDS = 1.0


class NodeChild:
    """Its standard input is a pipe that ends with this process, however that ends, and the child ends with it.

    Its standard output is this process's own, so that nothing of Python is in the way of its log lines.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        socket_path: str,
        on_death: Callable[[int], None],
    ) -> None:
        """`on_death` gets the exit code, once, where the child was ready and ends for another reason than that it was
        told to."""
        self._name = name
        self._command = command
        self._environment = environment
        self._socket_path = socket_path
        self._on_death = on_death
        self._process: asyncio.subprocess.Process | None = None
        self._last_words = LastWords()
        self._watch: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._is_ready = False
        self._is_draining = False
        self._is_stopping = False

    @property
    def session(self) -> aiohttp.ClientSession:
        """For requests to the child; closed by `stop`."""
        if self._session is None:
            raise RuntimeError(f"{self._name} was not started")
        return self._session

    @property
    def has_ended(self) -> bool:
        return self._process is not None and self._process.returncode is not None

    async def start(self, ready_seconds: float) -> None:
        """Returns when the child is ready. RuntimeError with its last words where it ends before, asyncio.TimeoutError
        where it takes too long."""
        self._session = open_session(self._socket_path)
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            # a Ctrl-C in the terminal of a local Ray is Ray's to handle: it ends its replicas in order
            start_new_session=True,
        )
        listening = asyncio.create_task(self._last_words.pass_on(self._process.stderr))
        self._watch = asyncio.create_task(self._await_end(self._process, listening))
        try:
            await asyncio.wait_for(self._until_ready(self._process), ready_seconds)
        except BaseException:
            await self.stop(0)
            raise
        self._is_ready = True

    async def check_ready(self, timeout_seconds: float) -> None:
        """RuntimeError, asyncio.TimeoutError or aiohttp.ClientError where the child would not take work."""
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        async with self.session.get("http://child/ready", timeout=timeout) as response:
            body = await response.text()
            if response.status != 200:
                raise RuntimeError(f"{self._name} is not ready: {body}")

    async def read_metrics(self) -> str:
        """In Prometheus' text format."""
        async with self.session.get("http://child/metrics") as response:
            response.raise_for_status()
            return await response.text()

    def drain(self) -> None:
        """Tells the child to end when its work is done; that is no death."""
        self._is_draining = True
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    async def stop(self, grace_seconds: float) -> None:
        """As `drain`, but what still runs after the grace is killed; idempotent."""
        self._is_stopping = True
        self.drain()
        if self._process is not None and self._watch is not None:
            try:
                await asyncio.wait_for(asyncio.shield(self._watch), grace_seconds)
            except asyncio.TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._watch
        if self._session is not None:
            await self._session.close()

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        while True:
            if process.returncode is not None and self._watch is not None:
                await asyncio.shield(self._watch)
                why = f": {self._last_words.line}" if self._last_words.line else ""
                raise RuntimeError(f"{self._name} ended with code {process.returncode} before it was ready{why}")
            # the socket is not there yet, or the model is loading
            with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError, asyncio.TimeoutError):
                await self.check_ready(timeout_seconds=1)
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _await_end(self, process: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
        code = await process.wait()
        # What it said last may still be on the way. Processes of its own that live on hold the stream open.
        await asyncio.wait([listening], timeout=_LAST_WORDS_SECONDS)
        listening.cancel()
        if self._is_stopping or (self._is_draining and code == 0):
            logger.info("%s (pid %d) has ended with code %d", self._name, process.pid, code)
        elif self._is_ready:
            self._on_death(code)

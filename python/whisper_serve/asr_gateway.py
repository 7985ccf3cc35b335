"""Where a TranscriptionServer's child finds the recogniser: HTTP on a Unix socket in, calls of a Serve handle out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from .asr_answer import AsrAnswer, not_ready_answer, unavailable_answer

logger = logging.getLogger("ray.serve")

# A window is 30 s of float32 at most; the WhisperASR child checks it again.
_MAX_BODY_BYTES = 8 * 1024 * 1024
# A call waits in Serve's router until there is a replica. Who asks for windows gives up earlier itself: 600 s for those
# of a file.
_WINDOW_SECONDS = 660.0
_REPORT_SECONDS = 5.0

_NOT_TAKEN = (BackPressureError, DeploymentUnavailableError)

AskReport = Callable[[str], Awaitable[AsrAnswer]]
AskWindow = Callable[[bytes], Awaitable[AsrAnswer]]


class AsrGateway:
    """Passes answers back as they are. Whoever closes its connection cancels the call."""

    def __init__(self, report: AskReport, windows: AskWindow) -> None:
        """Calls of the two routes: GET /asr, with its query, and POST /asr/windows, with its body."""
        self._report = report
        self._windows = windows
        self._runner: web.AppRunner | None = None

    async def start(self, socket_path: str) -> None:
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_get("/asr", self._get_report, allow_head=False)
        application.router.add_post("/asr/windows", self._post_window)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        await web.UnixSite(self._runner, socket_path).start()

    async def close(self) -> None:
        """Cancels what is out; idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _get_report(self, request: web.Request) -> web.Response:
        return await _answer(lambda: self._report(request.query_string), _REPORT_SECONDS)

    async def _post_window(self, request: web.Request) -> web.Response:
        body = await request.read()
        return await _answer(lambda: self._windows(body), _WINDOW_SECONDS)


async def _answer(ask: Callable[[], Awaitable[AsrAnswer]], timeout_seconds: float) -> web.Response:
    status, headers, body = await _await_answer(ask, timeout_seconds)
    return web.Response(status=status, headers=headers, body=body)


async def _await_answer(ask: Callable[[], Awaitable[AsrAnswer]], timeout_seconds: float) -> AsrAnswer:
    async def call() -> AsrAnswer:
        return await ask()

    # A task of its own: a call that Serve cancelled then looks different from one whose caller has gone.
    task = asyncio.create_task(call())
    try:
        await asyncio.wait({task}, timeout=timeout_seconds)
        if not task.done():
            return unavailable_answer("No speech recogniser answered in time.")
        if task.cancelled():
            return unavailable_answer("The speech recogniser gave the window up.")
        error = task.exception()
        if error is not None:
            # Serve's errors can quote the call, which is audio: the class says enough
            logger.warning("no answer from WhisperASR: %s", type(error).__name__)
            if isinstance(error, _NOT_TAKEN):
                return not_ready_answer("No speech recogniser took the window.")
            return unavailable_answer("The speech recogniser cannot be reached.")
        return task.result()
    finally:
        task.add_done_callback(_forget)
        task.cancel()


def _forget(task: asyncio.Future[AsrAnswer]) -> None:
    """Takes notice of an error that nobody waits for any more; asyncio would log it."""
    if not task.cancelled():
        task.exception()

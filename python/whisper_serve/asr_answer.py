"""An answer of a WhisperASR child on its way through Serve: bytes that nobody reads in between."""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

import aiohttp

from .unavailable import JSON_CONTENT_TYPE, RETRY_AFTER_SECONDS, UNAVAILABLE_STATUS, unavailable_body

_PASSED_HEADERS = ("content-type", "retry-after")


class AsrAnswer(NamedTuple):
    """As it came from the child."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask_child(
    session: aiohttp.ClientSession, method: str, path: str, body: bytes | None = None, content_type: str | None = None
) -> AsrAnswer:
    """Cancelled, it closes the connection, which cancels the work. Where the child cannot be reached the answer is
    `unavailable`."""
    headers = {} if content_type is None else {"content-type": content_type}
    # a file is sent in pieces; bytes as large as a window would be written at once
    data = None if body is None else BytesIO(body)
    try:
        async with session.request(method, f"http://child{path}", data=data, headers=headers) as response:
            passed = {name: response.headers[name] for name in _PASSED_HEADERS if name in response.headers}
            return AsrAnswer(response.status, passed, await response.read())
    except (aiohttp.ClientError, OSError):
        return unavailable_answer("The speech recogniser's process cannot be reached.")


def unavailable_answer(message: str) -> AsrAnswer:
    """Somebody may have had the window, and is lost."""
    return _answer_without_child(message, "unavailable")


def not_ready_answer(message: str) -> AsrAnswer:
    """Nobody has had the window."""
    return _answer_without_child(message, "not_ready")


def _answer_without_child(message: str, code: str) -> AsrAnswer:
    headers = {"content-type": JSON_CONTENT_TYPE, "retry-after": str(RETRY_AFTER_SECONDS)}
    return AsrAnswer(UNAVAILABLE_STATUS, headers, unavailable_body(message, code))

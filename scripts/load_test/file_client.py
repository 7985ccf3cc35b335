"""Posts one file to /transcribe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import requests

from .refusal import retry_after_seconds

# Longer than the service takes for any file that it accepts.
_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class FileAnswer:
    kind: Literal["done", "refused", "broken"]
    milliseconds: float
    text: str = ""
    # seconds, as the service measured them
    duration: float = 0.0
    # for people; the same words for the same cause
    reason: str = ""
    # how long the service asks to wait
    retry_after: float | None = None


def post_file(
    session: requests.Session, url: str, body: bytes, language: str | None, headers: Mapping[str, str]
) -> FileAnswer:
    began = time.perf_counter()
    try:
        response = session.post(
            url,
            params={} if language is None else {"language": language},
            data=body,
            headers={**headers, "Content-Type": "application/octet-stream"},
            timeout=_TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        return FileAnswer("broken", _milliseconds_since(began), reason=type(error).__name__)
    milliseconds = _milliseconds_since(began)
    if response.status_code == 503:
        return FileAnswer("refused", milliseconds, reason="HTTP 503", retry_after=retry_after_seconds(response.headers))
    if response.status_code != 200:
        return FileAnswer("broken", milliseconds, reason=f"HTTP {response.status_code}")
    answer = response.json()
    return FileAnswer("done", milliseconds, text=answer["text"], duration=answer["duration"])


def _milliseconds_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000

"""The answer where a child or a replica is not there, in the shape of all errors of the service (docs/errors.md)."""

from __future__ import annotations

import json

UNAVAILABLE_STATUS = 503
RETRY_AFTER_SECONDS = 1
JSON_CONTENT_TYPE = "application/json; charset=utf-8"


def unavailable_body(message: str, code: str = "unavailable") -> bytes:
    """The JSON body; `message` is for people."""
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def unavailable_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", JSON_CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_AFTER_SECONDS).encode()),
    ]

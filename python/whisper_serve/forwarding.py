"""What of a request and an answer is passed on: the target as it was sent, all headers but those of the hop itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import quote_from_bytes

from yarl import URL

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOP_HEADERS = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # uvicorn answers it itself as soon as the body is read
        b"expect",
        # each hop has a handshake of its own
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    ]
)
# uvicorn adds its own
_OVERWRITTEN_HEADERS = frozenset([b"date", b"server"])
# Printable ASCII but for the hash, which would start a fragment.
_TARGET_CHARACTERS = "!\"$%&'()*+,/:;<=>?@[\\]^`{|}"


def target_url(scope: Scope) -> URL:
    """The URL for the child: path and query as sent, less the prefix under which Serve mounted the application."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    prefix = scope.get("root_path", "").encode()
    if prefix and (path == prefix or path.startswith(prefix + b"/")):
        path = path[len(prefix) :]
    if not path.startswith(b"/"):
        path = b"/" + path
    query: bytes = scope.get("query_string") or b""
    target = path + b"?" + query if query else path
    return URL("http://child" + quote_from_bytes(target, _TARGET_CHARACTERS), encoded=True)


def request_headers(scope: Scope) -> list[tuple[str, str]]:
    """The client's headers, in order, duplicates included."""
    return [
        (name.decode("latin-1"), _header_value(value))
        for name, value in scope["headers"]
        if name.lower() not in _HOP_HEADERS
    ]


def _header_value(value: bytes) -> str:
    """aiohttp writes headers as UTF-8 and nothing else, so only UTF-8 arrives byte for byte. What is not is taken for
    Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The child's headers, in order, duplicates included."""
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in _HOP_HEADERS and name.lower() not in _OVERWRITTEN_HEADERS
    ]

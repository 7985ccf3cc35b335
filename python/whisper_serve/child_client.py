"""HTTP and WebSocket client of a Node.js child on its Unix socket."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import aiohttp
from aiohttp import hdrs

# Below the 5 s after which Node.js closes an idle connection: a request must not meet one that is just going.
_KEEP_ALIVE_SECONDS = 4
_CONNECT_SECONDS = 5


class UpgradeRefused(Exception):  # noqa: N818 (an answer, not a fault)
    """The child answered a WebSocket handshake with something else than 101."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"the handshake was answered with HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body


class ChildSocket(aiohttp.ClientWebSocketResponse):
    """A WebSocket to the child, with what aiohttp keeps to itself: the handshake's headers, and an end without a close
    frame."""

    @property
    def upgrade_headers(self) -> Iterable[tuple[bytes, bytes]]:
        return self._response.raw_headers

    def abort(self) -> None:
        """Closes the connection at once: the child sees that its client vanished."""
        self._response.close()


def open_session(socket_path: str) -> aiohttp.ClientSession:
    """A session that adds, decodes and remembers nothing, and waits for answers as long as whoever asks."""

    async def keep_refusal(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """aiohttp drops the body of a refused handshake; the client wants to read why."""
        response = await handler(request)
        if hdrs.UPGRADE in request.headers and response.status != 101:
            raise UpgradeRefused(response.status, response.raw_headers, await response.read())
        return response

    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(socket_path, limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS),
        # a jar would give one client's cookies to the next
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT, hdrs.CONTENT_TYPE),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        middlewares=(keep_refusal,),
        ws_response_class=ChildSocket,
    )


async def open_socket(
    session: aiohttp.ClientSession, url: Any, headers: list[tuple[str, str]], protocols: list[str]
) -> ChildSocket:
    """UpgradeRefused, aiohttp.ClientError."""
    socket = await session.ws_connect(url, headers=headers, protocols=protocols, max_msg_size=0, autoclose=False)
    assert isinstance(socket, ChildSocket)  # noqa: S101 (the session's ws_response_class)
    return socket

"""ASGI application that passes requests and WebSockets to a Node.js child, and holds each side back for the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from .forwarding import Receive, Scope, Send, request_headers, response_headers, target_url
from .read_ahead import limit_read_ahead
from .unavailable import UNAVAILABLE_STATUS, unavailable_body, unavailable_headers
from .websocket_bridge import bridge_websocket

_UNREACHABLE = "The transcription server of this replica cannot be reached; try again."


class ClientGoneError(ConnectionError):
    """The client closed its connection before it had the whole answer."""


class AsgiBridge:
    """Callable as an ASGI application; `session` talks to the child, and is closed by whoever opened it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        receive = limit_read_ahead(receive)
        if scope["type"] == "websocket":
            await bridge_websocket(self._session, scope, receive, send, _UNREACHABLE)
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Cancelled, or left by the client, it closes the connection to the child."""
        body = _RequestBody(receive)
        exchange = asyncio.create_task(self._exchange(scope, body, send))
        departure = asyncio.create_task(body.client_gone())
        try:
            await asyncio.wait({exchange, departure}, return_when=asyncio.FIRST_COMPLETED)
            if exchange.done() and not body.is_client_gone:
                exchange.result()
        finally:
            exchange.cancel()
            departure.cancel()
            await asyncio.gather(exchange, departure, return_exceptions=True)

    async def _exchange(self, scope: Scope, body: _RequestBody, send: Send) -> None:
        names = {name.lower() for name, _ in scope["headers"]}
        has_body = b"content-length" in names or b"transfer-encoding" in names
        if not has_body:
            body.skip()
        started = False
        try:
            async with self._session.request(
                scope["method"],
                target_url(scope),
                headers=request_headers(scope),
                data=body.chunks() if has_body else None,
                allow_redirects=False,
            ) as response:
                headers = response_headers(response.raw_headers)
                await send({"type": "http.response.start", "status": response.status, "headers": headers})
                started = True
                async for chunk in response.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                if not body.is_read:
                    # the child has said all it has to say: no use in sending it the rest
                    response.close()
        except (aiohttp.ClientError, OSError):
            # an answer that broke off has to look so: the server above closes the connection
            if started or body.is_client_gone:
                raise
            await _send_unavailable(send)


class _RequestBody:
    """The body as the client sends it, one chunk at a time; afterwards the one who hears of the client's departure."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = asyncio.Event()
        self.is_client_gone = False

    @property
    def is_read(self) -> bool:
        """Nothing of it is to come."""
        return self._read.is_set()

    def skip(self) -> None:
        """There is no body."""
        self._read.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """ClientGoneError where it ends too soon."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_client_gone = True
                self._read.set()
                raise ClientGoneError
            chunk = message.get("body", b"")
            if chunk:
                yield chunk
            if not message.get("more_body", False):
                self._read.set()
                return

    async def client_gone(self) -> None:
        """Returns when the client has left."""
        await self._read.wait()
        while not self.is_client_gone:
            message = await self._receive()
            self.is_client_gone = message["type"] == "http.disconnect"


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing starts or ends with the server: the child is there before it and after it."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _send_unavailable(send: Send) -> None:
    body = unavailable_body(_UNREACHABLE)
    await send({"type": "http.response.start", "status": UNAVAILABLE_STATUS, "headers": unavailable_headers(body)})
    await send({"type": "http.response.body", "body": body, "more_body": False})

"""A client's WebSocket joined to one of the child: messages, close codes and refusals pass, a slow side holds back."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum

import aiohttp

from .child_client import ChildSocket, UpgradeRefused, open_socket
from .forwarding import Message, Receive, Scope, Send, request_headers, response_headers, target_url
from .unavailable import UNAVAILABLE_STATUS, unavailable_body, unavailable_headers

_NORMAL = 1000
_GOING_AWAY = 1001
_NO_STATUS = 1005
_ABNORMAL = 1006
_INTERNAL = 1011
# For what is still on its way when the other side has gone: a close frame, audio before it.
_FAREWELL_SECONDS = 2.0


class _Lost(Enum):
    """Which side has gone."""

    CLIENT = 1
    CHILD = 2


async def bridge_websocket(
    session: aiohttp.ClientSession, scope: Scope, receive: Receive, send: Send, unreachable: str
) -> None:
    """Returns when both sides are closed. `unreachable` tells people that there is no child."""
    await receive()  # websocket.connect
    try:
        socket = await open_socket(session, target_url(scope), request_headers(scope), scope.get("subprotocols", []))
    except UpgradeRefused as refusal:
        await _refuse(scope, send, refusal.status, response_headers(refusal.headers), refusal.body)
        return
    except (aiohttp.ClientError, OSError):
        body = unavailable_body(unreachable)
        await _refuse(scope, send, UNAVAILABLE_STATUS, unavailable_headers(body), body)
        return
    try:
        await send(
            {
                "type": "websocket.accept",
                "subprotocol": socket.protocol,
                "headers": response_headers(socket.upgrade_headers),
            }
        )
        await _join(socket, receive, send)
    finally:
        socket.abort()


async def _join(socket: ChildSocket, receive: Receive, send: Send) -> None:
    upward = asyncio.create_task(_client_to_child(socket, receive))
    downward = asyncio.create_task(_child_to_client(socket, send))
    try:
        await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        # what the side that is still there said last is on its way
        if downward.done() and downward.result() is _Lost.CLIENT:
            await asyncio.wait({upward}, timeout=_FAREWELL_SECONDS)
        elif upward.done() and upward.result() is _Lost.CHILD:
            await asyncio.wait({downward}, timeout=_FAREWELL_SECONDS)
    except asyncio.CancelledError:
        # so Serve tells that the client has gone; what it said last is still to be read
        await asyncio.wait({upward}, timeout=_FAREWELL_SECONDS)
        raise
    finally:
        upward.cancel()
        downward.cancel()
        await asyncio.gather(upward, downward, return_exceptions=True)


async def _client_to_child(socket: ChildSocket, receive: Receive) -> _Lost:
    """Until either has gone: returns which."""
    while True:
        message = await receive()
        try:
            if message["type"] == "websocket.disconnect":
                await _pass_on_departure(socket, message)
                return _Lost.CLIENT
            data = message.get("bytes")
            # both wait while the child does not read
            if data is not None:
                await socket.send_bytes(data)
            else:
                await socket.send_str(message["text"])
        except (aiohttp.ClientError, OSError):
            return _Lost.CHILD


async def _pass_on_departure(socket: ChildSocket, message: Message) -> None:
    """uvicorn gives 1005 for a close frame without a code, then with a reason, and for a connection that broke, then
    without."""
    code = message.get("code", _NO_STATUS)
    reason = message.get("reason")
    if code == _ABNORMAL or (code == _NO_STATUS and reason is None):
        socket.abort()
        return
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_close(socket, code, reason or ""), _FAREWELL_SECONDS)


async def _child_to_client(socket: ChildSocket, send: Send) -> _Lost:
    """Until either has gone: returns which. The client's socket is closed as the child closes its own."""
    while True:
        message = await socket.receive()
        if message.type is aiohttp.WSMsgType.CLOSING:
            return _Lost.CLIENT
        try:
            # waits while the client does not read
            await send(_as_event(message))
        except OSError:
            return _Lost.CLIENT
        if message.type is aiohttp.WSMsgType.CLOSE:
            await _close(socket, message.data or _NO_STATUS, message.extra or "")
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return _Lost.CHILD


def _as_event(message: aiohttp.WSMessage) -> Message:
    if message.type is aiohttp.WSMsgType.TEXT:
        return {"type": "websocket.send", "text": message.data}
    if message.type is aiohttp.WSMsgType.BINARY:
        return {"type": "websocket.send", "bytes": message.data}
    if message.type is aiohttp.WSMsgType.CLOSE:
        return {"type": "websocket.close", "code": message.data or _NORMAL, "reason": message.extra or ""}
    # it broke off without a close frame
    return {"type": "websocket.close", "code": _INTERNAL, "reason": ""}


async def _close(socket: ChildSocket, code: int, reason: str) -> None:
    """Sends a close frame, and waits for the answer unless it is one."""
    if code == _NO_STATUS:
        # aiohttp would make a code of it
        await socket.send_frame(b"", aiohttp.WSMsgType.CLOSE)
        return
    await socket.close(code=code, message=reason.encode())


async def _refuse(scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": _GOING_AWAY})
        return
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})

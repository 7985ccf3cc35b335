"""uvicorn's pings find a client that is dead, and spare one whose answer lies behind audio that the child does not read
yet."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from harness import BridgedChild, bridged_child_in_serve, eventually
from ray.serve._private.direct_ingress_http_util import ASGIDIReceiveProxy

from whisper_serve import client_pings
from whisper_serve.client_pings import ClientPings
from whisper_serve.forwarding import Message

_PING_SECONDS = 0.2
_PONG_SECONDS = 1.0
_MESSAGES = 64
_MESSAGE_BYTES = 65536


@contextlib.asynccontextmanager
async def _serve(folder: Path) -> AsyncIterator[BridgedChild]:
    options = {"ws_ping_interval": _PING_SECONDS, "ws_ping_timeout": _PONG_SECONDS}
    async with bridged_child_in_serve(folder, **options) as bridged:
        yield bridged


async def _send_audio(socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
    for _ in range(_MESSAGES):
        await socket.send_bytes(bytes(_MESSAGE_BYTES))


async def _read_echo(socket: aiohttp.ClientWebSocketResponse[bool]) -> int:
    """aiohttp answers pings only while it is read. Returns how much came, until all has or the socket is closed."""
    read = 0
    while read < _MESSAGES * _MESSAGE_BYTES:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            break
        read += len(message.data)
    return read


async def test_a_client_that_is_held_back_is_not_taken_for_dead(tmp_path: Path) -> None:
    async with _serve(tmp_path) as bridged, bridged.client.ws_connect(bridged.url + "/ws?mode=pause") as socket:
        sending = asyncio.create_task(_send_audio(socket))
        reading = asyncio.create_task(_read_echo(socket))
        await asyncio.wait({reading}, timeout=2 * (_PING_SECONDS + _PONG_SECONDS))
        assert not reading.done(), f"closed with {socket.close_code}"
        async with bridged.child.session.get("http://child/resume"):
            pass
        assert await reading == _MESSAGES * _MESSAGE_BYTES
        await sending
        # from here on it does not answer any more
        await eventually(lambda: bridged.has_seen("socket closed 1006 "))


async def test_a_client_that_does_not_answer_is_found(tmp_path: Path) -> None:
    async with _serve(tmp_path) as bridged, bridged.client.ws_connect(bridged.url + "/ws") as socket:
        await socket.send_str("hello")
        await eventually(lambda: bridged.has_seen("socket open"))
        await eventually(lambda: bridged.has_seen("socket closed 1006 "))


class _Uvicorn:
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def receive(self) -> Message:
        return {"type": "websocket.disconnect", "code": 1000}

    def start_keepalive(self) -> None:
        self.calls.append("start")

    def stop_keepalive(self) -> None:
        self.calls.append("stop")


def _pings(uvicorn: object) -> ClientPings:
    receive = getattr(uvicorn, "receive")  # noqa: B009 (of any object)
    return ClientPings(ASGIDIReceiveProxy({"type": "websocket"}, receive, asyncio.get_event_loop()))


async def test_pings_start_again_with_one_time_out() -> None:
    uvicorn = _Uvicorn()
    with _pings(uvicorn).resting():
        assert uvicorn.calls == ["stop"]
    assert uvicorn.calls == ["stop", "stop", "start"]


async def test_pings_do_not_start_again_where_the_connection_ends() -> None:
    uvicorn = _Uvicorn()
    with contextlib.suppress(asyncio.CancelledError), _pings(uvicorn).resting():
        raise asyncio.CancelledError
    assert uvicorn.calls == ["stop"]


async def test_a_server_with_other_pings_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    class Other:
        async def receive(self) -> Message:
            return {"type": "websocket.disconnect", "code": 1000}

    client_pings._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="ray.serve"):
        for _ in range(2):
            with _pings(Other()).resting():
                pass
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "1011" in caplog.text

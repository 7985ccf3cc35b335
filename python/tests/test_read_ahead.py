"""Serve's own reader, held to what the limit of its queue rests on."""

from __future__ import annotations

import asyncio

from harness import eventually
from ray.serve._private.direct_ingress_http_util import ASGIDIReceiveProxy

from whisper_serve.forwarding import Message
from whisper_serve.read_ahead import limit_read_ahead


class _Client:
    """Sends as fast as it is read."""

    def __init__(self, messages: int) -> None:
        self.read = 0
        self._messages = messages

    async def __call__(self) -> Message:
        self.read += 1
        if self.read > self._messages:
            return {"type": "websocket.disconnect", "code": 4000, "reason": "enough"}
        return {"type": "websocket.receive", "bytes": self.read.to_bytes(2, "big")}


async def test_serve_reads_a_few_messages_ahead_and_loses_none() -> None:
    client = _Client(50)
    proxy = ASGIDIReceiveProxy({"type": "websocket"}, client, asyncio.get_running_loop())
    reading = proxy.fetch_until_disconnect_task()
    receive = limit_read_ahead(proxy)
    await eventually(lambda: client.read > 1)
    for _ in range(100):
        await asyncio.sleep(0)
    # those in the queue, and the one that waits to get in
    assert client.read <= 6
    for number in range(1, 51):
        assert (await receive())["bytes"] == number.to_bytes(2, "big")
    for _ in range(2):
        assert await receive() == {"type": "websocket.disconnect", "code": 4000, "reason": "enough"}
    assert await reading == 4000


async def test_without_the_limit_serve_reads_all() -> None:
    """If this fails, Serve holds back by itself, and the limit can go."""
    client = _Client(50)
    proxy = ASGIDIReceiveProxy({"type": "websocket"}, client, asyncio.get_running_loop())
    await proxy.fetch_until_disconnect_task()
    assert client.read == 51


async def test_another_server_reads_as_before() -> None:
    client = _Client(1)
    assert limit_read_ahead(client) is client

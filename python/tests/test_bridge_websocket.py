"""A WebSocket through the bridge is one with the child: messages, close frames, refusals, and who waits for whom."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from harness import BridgedChild, bridged_child, events, eventually
from yarl import URL

MEBIBYTE = 1024 * 1024


async def _sent(bridged: BridgedChild) -> int:
    sent: int = (await events(bridged.child))["sent"]
    return sent


async def test_messages_keep_their_kind_and_bytes(bridged: BridgedChild) -> None:
    async with bridged.client.ws_connect(bridged.url + "/ws") as socket:
        for text in ["", "ä€𝄞", "x" * 70_000]:
            await socket.send_str(text)
            assert await socket.receive_str() == text
        for data in [b"", bytes(range(256)), bytes(2 * MEBIBYTE)]:
            await socket.send_bytes(data)
            assert await socket.receive_bytes() == data


async def test_the_handshake_arrives_as_it_was_sent_and_so_does_its_answer(bridged: BridgedChild) -> None:
    url = URL(bridged.url + "/ws?mode=hello&access_token=a%26b&x=%2F", encoded=True)
    headers = {"Authorization": "Bearer key", "Origin": "https://page.example"}
    async with bridged.client.ws_connect(url, headers=headers, protocols=["first", "second"]) as socket:
        hello = json.loads(await socket.receive_str())
        assert hello["url"] == "/ws?mode=hello&access_token=a%26b&x=%2F"
        assert hello["headers"]["authorization"] == "Bearer key"
        assert hello["headers"]["origin"] == "https://page.example"
        assert hello["headers"]["host"] == f"127.0.0.1:{bridged.port}"
        assert "sec-websocket-extensions" not in hello["headers"]
        assert hello["protocol"] == socket.protocol == "second"
        upgrade = socket._response.headers
        assert upgrade["x-upgrade"] == "yes"
        assert upgrade["set-cookie"] == "c=d"


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1013, "full"), (4321, "für dich")])
async def test_the_child_closes_and_the_client_sees_code_and_reason(
    bridged: BridgedChild, code: int, reason: str
) -> None:
    async with bridged.client.ws_connect(bridged.url + "/ws", autoclose=False) as socket:
        await socket.send_str(f"close {code} {reason.replace(' ', '_')}".rstrip())
        message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert (message.data, message.extra) == (code, reason.replace(" ", "_"))
        await socket.close()
    # its own close frame came back to it
    await eventually(lambda: bridged.has_seen(f"socket closed {code} {reason.replace(' ', '_')}"))


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "gone"), (4000, "genug")])
async def test_the_client_closes_and_the_child_sees_code_and_reason(
    bridged: BridgedChild, code: int, reason: str
) -> None:
    async with bridged.client.ws_connect(bridged.url + "/ws") as socket:
        await socket.send_str("hello")
        await socket.receive()
        await socket.close(code=code, message=reason.encode())
        assert socket.close_code == code
    await eventually(lambda: bridged.has_seen(f"socket closed {code} {reason}"))


async def test_close_frames_without_a_code_are_passed_on(bridged: BridgedChild) -> None:
    async with bridged.client.ws_connect(bridged.url + "/ws") as socket:
        await socket.send_frame(b"", aiohttp.WSMsgType.CLOSE)
        await eventually(lambda: bridged.has_seen("socket closed 1005 "))
    async with bridged.client.ws_connect(bridged.url + "/ws", autoclose=False) as socket:
        await socket.send_str("close")
        message = await socket.receive()
        # a server of ASGI cannot close without a code
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1000)
        await socket.close()


async def test_a_client_that_vanishes_vanishes_for_the_child(bridged: BridgedChild) -> None:
    socket = await bridged.client.ws_connect(bridged.url + "/ws")
    await socket.send_str("hello")
    await socket.receive()
    socket._response.close()
    await eventually(lambda: bridged.has_seen("socket closed 1006 "))


async def test_a_child_that_vanishes_is_an_error_of_the_server(bridged: BridgedChild) -> None:
    async with bridged.client.ws_connect(bridged.url + "/ws") as socket:
        await socket.send_str("terminate")
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)


async def test_a_refused_handshake_is_refused_the_same_way(bridged: BridgedChild) -> None:
    # as HTTP, to see the body that a WebSocket client does not show
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with bridged.client.get(bridged.url + "/refused", headers=headers) as response:
        assert response.status == 503
        assert response.headers["retry-after"] == "12"
        assert response.content_type == "application/json"
        assert (await response.json())["error"]["code"] == "overloaded"


async def test_without_a_child_the_handshake_is_refused_as_unavailable(tmp_path: Path) -> None:
    async with bridged_child(tmp_path) as bridged:
        bridged.child.drain()
        await eventually(lambda: bridged.child.has_ended)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await bridged.client.ws_connect(bridged.url + "/ws")
        assert refusal.value.status == 503
        assert refusal.value.headers is not None
        assert refusal.value.headers["retry-after"] == "1"


async def test_a_child_that_reads_slowly_holds_its_client_back(bridged: BridgedChild) -> None:
    async with bridged.client.ws_connect(bridged.url + "/ws?mode=pause") as socket:
        given = 0

        async def send_all() -> None:
            nonlocal given
            for _ in range(64):
                await socket.send_bytes(bytes(MEBIBYTE))
                given += MEBIBYTE

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(send_all(), 0.5)
        assert given < 16 * MEBIBYTE
        socket._response.close()
    await eventually(lambda: bridged.has_seen("socket open"))


async def test_a_client_that_reads_slowly_holds_the_child_back_and_may_leave(bridged: BridgedChild) -> None:
    socket = await bridged.client.ws_connect(bridged.url + "/ws?mode=flood")
    before = -1
    while before != (before := await _sent(bridged)):
        await asyncio.sleep(0.1)
    assert before < 32 * MEBIBYTE
    socket._response.close()
    await eventually(lambda: bridged.has_seen("socket closed 1006 "))


async def test_what_a_client_says_before_it_closes_arrives(bridged: BridgedChild) -> None:
    async with bridged.client.ws_connect(bridged.url + "/ws") as socket:
        for _ in range(100):
            await socket.send_bytes(bytes(1000))
        await socket.close(code=4001)
    await eventually(lambda: bridged.has_seen("socket closed 4001 "))
    assert (await events(bridged.child))["received"] == 100_000

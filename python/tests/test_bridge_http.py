"""HTTP through the bridge is HTTP with the child: bytes, headers, ends and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from harness import BridgedChild, bridged_child, events, eventually
from yarl import URL

from whisper_serve.forwarding import request_headers, target_url

MEBIBYTE = 1024 * 1024


async def test_method_target_headers_and_body_arrive_as_they_were_sent(bridged: BridgedChild) -> None:
    target = "/echo//a%2Fb%20c;x?q=%C3%A4&q=1+2&access_token=a%26b"
    headers = [("X-Custom", "a"), ("X-Custom", "b"), ("Cookie", "k=v"), ("Content-Type", "audio/ogg")]
    url = URL(bridged.url + target, encoded=True)
    async with bridged.client.put(url, data=b"x" * 1000, headers=headers) as response:
        seen = await response.json()
    assert seen["method"] == "PUT"
    assert seen["url"] == target
    assert seen["bytes"] == 1000
    assert seen["headers"]["x-custom"] == "a, b"
    assert seen["headers"]["content-length"] == "1000"
    assert "transfer-encoding" not in seen["headers"]
    assert seen["headers"]["content-type"] == "audio/ogg"
    assert seen["headers"]["host"] == f"127.0.0.1:{bridged.port}"
    assert response.headers.getall("x-twice") == ["1", "2"]
    assert len(response.headers.getall("date")) == 1


async def test_a_header_in_utf8_arrives_byte_for_byte(bridged: BridgedChild) -> None:
    async with bridged.client.get(bridged.url + "/echo", headers={"Authorization": "Bearer schlüssel €𝄞"}) as response:
        seen = await response.json()
    # Node.js makes a character of each byte
    assert seen["headers"]["authorization"].encode("latin-1") == "Bearer schlüssel €𝄞".encode()


def test_a_header_in_another_encoding_is_taken_for_latin_1() -> None:
    assert request_headers({"headers": [(b"X-Name", b"M\xfcller")]}) == [("X-Name", "Müller")]


async def test_the_cookie_of_one_client_is_not_given_to_the_next(bridged: BridgedChild) -> None:
    async with bridged.client.get(bridged.url + "/echo") as response:
        assert response.headers["set-cookie"] == "a=b"
    async with aiohttp.request("GET", bridged.url + "/echo") as response:
        assert "cookie" not in (await response.json())["headers"]


async def test_a_body_of_unknown_length_arrives(bridged: BridgedChild) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 50_000

    async with bridged.client.post(bridged.url + "/echo", data=body()) as response:
        seen = await response.json()
    assert seen["bytes"] == 1_000_000
    assert seen["headers"]["transfer-encoding"] == "chunked"


async def test_a_client_that_expects_to_be_told_to_go_on_is(bridged: BridgedChild) -> None:
    async with bridged.client.post(bridged.url + "/echo", data=b"x" * 1000, expect100=True) as response:
        seen = await response.json()
    assert seen["bytes"] == 1000
    assert "expect" not in seen["headers"]


async def test_an_answer_keeps_its_length_and_its_encoding(bridged: BridgedChild) -> None:
    async with bridged.client.get(bridged.url + "/fixed") as response:
        assert response.headers["content-length"] == "5"
        assert response.headers["content-encoding"] == "gzip"
        assert await response.read() == b"plain"
    async with bridged.client.head(bridged.url + "/fixed") as response:
        assert response.headers["content-length"] == "5"
        assert await response.read() == b""


async def test_an_error_of_the_child_is_passed_on(bridged: BridgedChild) -> None:
    async with bridged.client.get(bridged.url + "/overloaded") as response:
        assert response.status == 503
        assert response.headers["retry-after"] == "7"
        assert (await response.json())["error"]["code"] == "overloaded"


async def test_an_answer_that_comes_before_the_body_was_read_is_passed_on(bridged: BridgedChild) -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with bridged.client.post(bridged.url + "/early", data=body()) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "payload_too_large"


async def test_a_child_that_reads_slowly_holds_its_client_back(bridged: BridgedChild) -> None:
    given = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(64):
            given += MEBIBYTE
            yield b"x" * MEBIBYTE

    request = asyncio.create_task(bridged.client.post(bridged.url + "/slow-read?ms=500", data=body()))
    await asyncio.sleep(0.4)
    assert given < 16 * MEBIBYTE
    response = await request
    assert (await response.json())["bytes"] == 64 * MEBIBYTE


async def test_a_client_that_reads_slowly_holds_the_child_back_and_may_leave(bridged: BridgedChild) -> None:
    response = await bridged.client.get(bridged.url + "/endless")
    before = -1
    while before != (before := (await events(bridged.child))["sent"]):
        await asyncio.sleep(0.1)
    assert before < 32 * MEBIBYTE
    response.close()
    await eventually(lambda: bridged.has_seen("endless closed"))


@pytest.mark.parametrize("data", [None, b"all of it"])
async def test_a_client_that_leaves_takes_its_request_from_the_child(bridged: BridgedChild, data: bytes | None) -> None:
    request = asyncio.create_task(bridged.client.post(bridged.url + "/silent", data=data))
    await eventually(lambda: bridged.has_seen("silent open"))
    request.cancel()
    await eventually(lambda: bridged.has_seen("silent closed"))


async def test_an_answer_that_breaks_off_breaks_off(bridged: BridgedChild) -> None:
    async with bridged.client.get(bridged.url + "/cut-off") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    # that is how uvicorn hears of it
    assert isinstance(bridged.errors.pop(), aiohttp.ClientPayloadError)


@pytest.mark.parametrize("path", ["/reset", "/exit?code=1"])
async def test_a_child_that_does_not_answer_is_unavailable(tmp_path: Path, path: str) -> None:
    async with bridged_child(tmp_path) as bridged:
        async with bridged.client.post(bridged.url + path, data=b"x") as response:
            assert response.status == 503
            assert response.headers["retry-after"] == "1"
            assert response.content_type == "application/json"
            error = (await response.json())["error"]
            assert error["code"] == "unavailable"
            assert "transcription server" in error["message"]


def test_a_prefix_of_the_application_is_not_the_childs() -> None:
    scope = {"raw_path": b"/base/stream", "path": "/base/stream", "query_string": b"a=%20", "root_path": "/base"}
    assert str(target_url(scope)) == "http://child/stream?a=%20"
    assert str(target_url({**scope, "root_path": "/ba"})) == "http://child/base/stream?a=%20"
    assert str(target_url({**scope, "raw_path": b"/base", "query_string": b""})) == "http://child/"
    assert target_url({**scope, "raw_path": b"*", "root_path": "", "query_string": b""}).raw_path == "/*"

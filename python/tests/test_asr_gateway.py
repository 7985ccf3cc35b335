"""The gateway passes answers on as they are, errors of Serve as `unavailable`, a closed connection as cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from harness import events, eventually, fake_child
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

import whisper_serve.asr_gateway as gateway_module
from whisper_serve.asr_answer import AsrAnswer, ask_child
from whisper_serve.asr_gateway import AskReport, AskWindow, AsrGateway
from whisper_serve.child_client import open_session


async def _report(_: str) -> AsrAnswer:
    return AsrAnswer(200, {"content-type": "application/json; charset=utf-8"}, b'{"replica":"r"}')


@contextlib.asynccontextmanager
async def _gateway(
    folder: Path, windows: AskWindow, report: AskReport = _report
) -> AsyncIterator[aiohttp.ClientSession]:
    gateway = AsrGateway(report, windows)
    path = str(folder / "g.sock")
    await gateway.start(path)
    try:
        async with open_session(path) as session:
            yield session
    finally:
        await gateway.close()
        await gateway.close()


def _post(session: aiohttp.ClientSession, body: bytes) -> aiohttp.client._RequestContextManager:
    return session.post("http://asr/asr/windows", data=BytesIO(body), headers={"content-type": "application/msgpack"})


async def test_answers_of_the_child_come_back_unchanged(tmp_path: Path) -> None:
    async with fake_child(tmp_path, "asr") as child:

        async def windows(body: bytes) -> AsrAnswer:
            return await ask_child(child.session, "POST", "/asr/windows", body, "application/msgpack")

        async def report(query: str) -> AsrAnswer:
            return await ask_child(child.session, "GET", f"/asr?{query}")

        async with _gateway(tmp_path, windows, report) as session:
            async with session.get("http://asr/asr") as response:
                assert response.status == 200
                assert response.content_type == "application/json"
                assert int((await response.json())["replica"]) > 0
            body = bytes(range(256)) * 8000
            async with _post(session, body) as response:
                answer = await response.json()
                assert answer == {"text": body.decode("latin-1"), "type": "application/msgpack"}
            async with _post(session, b"overload") as response:
                assert response.status == 503
                assert response.headers["retry-after"] == "9"
                assert (await response.json())["error"]["code"] == "overloaded"
            async with _post(session, b"die") as response:
                assert response.status == 503
                assert (await response.json())["error"]["code"] == "unavailable"


async def test_a_connection_that_closes_cancels_the_work_of_the_child(tmp_path: Path) -> None:
    async with fake_child(tmp_path, "asr") as child:

        async def windows(body: bytes) -> AsrAnswer:
            return await ask_child(child.session, "POST", "/asr/windows", body, "application/msgpack")

        async def has_seen(event: str) -> bool:
            return event in (await events(child))["events"]

        async with _gateway(tmp_path, windows) as session:
            request = asyncio.create_task(session.post("http://asr/asr/windows", data=b"wait"))
            await eventually(lambda: has_seen("window open"))
            request.cancel()
            await eventually(lambda: has_seen("window closed"))


@pytest.mark.parametrize(
    "error",
    [
        ActorDiedError(),
        ActorUnavailableError("gone", None),
        BackPressureError(num_queued_requests=1, max_queued_requests=1),
        DeploymentUnavailableError.__new__(DeploymentUnavailableError),
        RequestCancelledError("id"),
        asyncio.CancelledError(),
        RuntimeError("with the words that were said"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_of_serve_are_unavailable_and_quote_nothing(
    tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def windows(_: bytes) -> AsrAnswer:
        raise error

    with caplog.at_level(logging.DEBUG):
        async with _gateway(tmp_path, windows) as session, _post(session, b"x") as response:
            assert response.status == 503
            assert response.headers["retry-after"] == "1"
            text = await response.text()
            untaken = isinstance(error, (BackPressureError, DeploymentUnavailableError))
            assert json.loads(text)["error"]["code"] == ("not_ready" if untaken else "unavailable")
    assert "words" not in text + caplog.text


async def test_an_error_at_the_call_itself_is_unavailable(tmp_path: Path) -> None:
    def windows(_: bytes) -> asyncio.Future[AsrAnswer]:
        raise RuntimeError("no handle")

    async with _gateway(tmp_path, windows) as session, _post(session, b"x") as response:
        assert response.status == 503


async def test_where_no_replica_comes_in_time_it_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "_WINDOW_SECONDS", 0.05)
    cancelled = asyncio.Event()

    async def windows(_: bytes) -> AsrAnswer:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with _gateway(tmp_path, windows) as session, _post(session, b"x") as response:
        assert response.status == 503
        assert "in time" in (await response.json())["error"]["message"]
        await asyncio.wait_for(cancelled.wait(), 1)

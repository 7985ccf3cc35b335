"""The deployments together, without a cluster: what a client asks the one reaches the child of the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from harness import FAKE_CHILD, eventually, served

from whisper_serve.arguments import ServerArguments, ServiceArguments
from whisper_serve.deployments import _HEALTH_SECONDS, TranscriptionServer, WhisperASR
from whisper_serve.drain import DrainWatch, HealthSilence

ARGUMENTS = ServiceArguments(launcher=FAKE_CHILD, server=ServerArguments(drain_seconds=1))


class _Handle:
    """Calls a deployment in this process, as Serve's handle does elsewhere."""

    def __init__(self, deployment: Any) -> None:
        self._deployment = deployment

    def __getattr__(self, name: str) -> _Method:
        return _Method(getattr(self._deployment, name))


class _Method:
    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self.remote = method


async def _create(deployment: type[Any], *arguments: Any) -> Any:
    """As Serve does: a constructor that is awaited."""
    instance: Any = object.__new__(deployment)
    await instance.__init__(*arguments)
    return instance


@contextlib.asynccontextmanager
async def _deployed(parent: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Any, Any, str]]:
    """Both deployments, and the address of the server's application."""
    monkeypatch.setattr(tempfile, "tempdir", str(parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    asr = await _create(WhisperASR, ARGUMENTS)
    server = await _create(TranscriptionServer, ARGUMENTS, _Handle(asr))
    try:
        async with served(await server.__serve_build_asgi_app__()) as port:
            yield server, asr, f"http://127.0.0.1:{port}"
    finally:
        await server.close()
        await asr.close()


async def test_windows_of_the_one_child_reach_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _deployed(tmp_path, monkeypatch) as (server, asr, url), aiohttp.ClientSession() as client:
        await server.check_health()
        await asr.check_health()
        async with client.post(url + "/ask-window", data=b"some audio") as response:
            answer = await response.json()
            assert answer["status"] == 200
            assert "some audio" in answer["text"]
        async with client.post(url + "/ask-window", data=b"overload") as response:
            answer = await response.json()
            assert (answer["status"], answer["headers"]["retry-after"]) == (503, "9")
        async with client.get(url + "/ask-report") as response:
            assert "replica" in (await response.json())["text"]
        async with client.get(url + "/environment") as response:
            environment = await response.json()
            assert environment["CUDA_VISIBLE_DEVICES"] == ""
            assert "--drain-seconds=1" in environment["arguments"]
        async with client.ws_connect(url + "/ws") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
    assert list(tmp_path.iterdir()) == []


async def test_a_recogniser_that_is_not_ready_is_not_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _deployed(tmp_path, monkeypatch) as (_, asr, _url):
        async with asr._child.session.get("http://child/unready"):
            pass
        with pytest.raises(RuntimeError, match="recogniser is not ready"):
            await asr.check_health()


async def test_a_server_that_has_drained_is_not_healthy_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _deployed(tmp_path, monkeypatch) as (server, _, url), aiohttp.ClientSession() as client:
        server._child.drain()
        await eventually(lambda: server._child.has_ended)
        with pytest.raises(aiohttp.ClientError):
            await server.check_health()
        async with client.get(url + "/echo") as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "unavailable"


async def test_a_server_that_is_slow_to_say_how_it_is_does_not_drain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def controller_answers() -> bool:
        return True

    drained = asyncio.Event()
    may_answer = asyncio.Event()

    async def answer_when_told(timeout_seconds: float) -> None:
        await may_answer.wait()

    async with _deployed(tmp_path, monkeypatch) as (server, _, _url):
        silence = HealthSilence(min_silence_seconds=0.2)
        server._drain_watch = DrainWatch(controller_answers, drained.set, silence, second_look_seconds=0.01)
        for _ in range(3):
            await server.check_health()
        monkeypatch.setattr(server._child, "check_ready", answer_when_told)
        slow = asyncio.create_task(server.check_health())
        watching = asyncio.create_task(server._drain_watch.run())
        # it looks twice a second
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(drained.wait(), 1.6)
        may_answer.set()
        await slow
        await asyncio.wait_for(drained.wait(), 5)
        await watching


@pytest.mark.parametrize("file", ["deploy/serve.yaml", "python/whisper_serve/application.py"])
def test_a_check_fails_before_serve_gives_it_up(file: str) -> None:
    settings = Path(__file__).parents[2].joinpath(file).read_text()
    limits = re.findall(r"health_check_timeout_s[:=] ?([\d.]+)", settings)
    assert len(limits) == 2
    assert all(float(limit) > _HEALTH_SECONDS for limit in limits)


async def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("FAKE_EXIT_AT_START", "5")
    for deployment, arguments in [(WhisperASR, []), (TranscriptionServer, [_Handle(WhisperASR)])]:
        with pytest.raises(RuntimeError, match="ended with code 5 before it was ready"):
            await _create(deployment, ARGUMENTS, *arguments)
    assert list(tmp_path.iterdir()) == []


async def test_a_child_that_dies_takes_its_replica_with_it(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio, logging, sys
        from whisper_serve.arguments import ServiceArguments
        from whisper_serve.deployments import WhisperASR

        async def main():
            replica = WhisperASR.__new__(WhisperASR)
            await replica.__init__(ServiceArguments(launcher={FAKE_CHILD!r}))
            print(replica._child._process.pid, flush=True)
            await asyncio.sleep(60)

        logging.basicConfig(level=logging.INFO, stream=sys.stdout)
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    os.kill(int(await process.stdout.readline()), signal.SIGKILL)
    output = (await process.stdout.read()).decode()
    assert await process.wait() == 1
    assert output.count("has died with code -9") == len(output.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

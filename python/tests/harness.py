"""What tests of several parts share: a fake child, a server around an application, waiting for what comes soon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from ray.serve._private.direct_ingress_http_util import ASGIDIReceiveProxy

from whisper_serve.asgi_bridge import AsgiBridge
from whisper_serve.forwarding import AsgiApp, Receive, Scope, Send
from whisper_serve.node_child import NodeChild
from whisper_serve.run_folder import RunFolder

FAKE_CHILD = str(Path(__file__).with_name("fake_child.mjs"))
_SOON_SECONDS = 5


async def eventually(condition: Callable[[], Any]) -> None:
    """Returns when the condition holds, or what it returns does; it may be a coroutine function."""
    deadline = time.monotonic() + _SOON_SECONDS
    while True:
        result = condition()
        if await result if asyncio.iscoroutine(result) else result:
            return
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def fake_child(
    folder: Path,
    command: str = "serve",
    on_death: Callable[[int], None] = lambda code: None,
    ready_seconds: float = 10,
    **variables: str,
) -> AsyncIterator[NodeChild]:
    """A child that is ready, and stopped at the end."""
    run_folder = RunFolder(str(folder))
    path = run_folder.socket_path("c.sock")
    arguments = ["node", FAKE_CHILD, command, f"--socket={path}", "--until-stdin-ends"]
    child = NodeChild("fake", arguments, {**os.environ, **variables}, path, on_death)
    try:
        await child.start(ready_seconds)
        yield child
    finally:
        await child.stop(1)
        run_folder.remove()


async def events(child: NodeChild) -> dict[str, Any]:
    """What the fake child saw: `events` in order, bytes `received` and `sent`."""
    async with child.session.get("http://child/events") as response:
        seen: dict[str, Any] = await response.json()
        return seen


@dataclass(frozen=True)
class BridgedChild:
    """A child behind a bridge behind uvicorn, and a client of it."""

    child: NodeChild
    client: aiohttp.ClientSession
    port: int
    errors: list[BaseException]
    """What the bridge raised. A test that expects it takes it away: something that is left here fails the test."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def forget(self) -> None:
        """The child counts and remembers anew."""
        async with self.child.session.get("http://child/forget"):
            pass

    async def has_seen(self, event: str) -> bool:
        return event in (await events(self.child))["events"]


@contextlib.asynccontextmanager
async def bridged_child(folder: Path) -> AsyncIterator[BridgedChild]:
    errors: list[BaseException] = []
    async with fake_child(folder) as child:
        bridge = AsgiBridge(child.session)

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await bridge(scope, receive, send)
            except Exception as error:
                errors.append(error)
                raise

        async with served(application) as port, aiohttp.ClientSession(auto_decompress=False) as client:
            yield BridgedChild(child, client, port, errors)
    assert errors == []


@contextlib.asynccontextmanager
async def bridged_child_in_serve(folder: Path, **uvicorn_options: Any) -> AsyncIterator[BridgedChild]:
    """As `bridged_child`, with Serve's reader between uvicorn and the bridge."""
    async with fake_child(folder) as child:
        application = _read_by_serve(AsgiBridge(child.session))
        async with served(application, **uvicorn_options) as port, aiohttp.ClientSession() as client:
            yield BridgedChild(child, client, port, [])


def _read_by_serve(application: AsgiApp) -> AsgiApp:
    async def read_by_serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await application(scope, receive, send)
            return
        proxy = ASGIDIReceiveProxy(scope, receive, asyncio.get_running_loop())
        reading: asyncio.Task[Any] = proxy.fetch_until_disconnect_task()
        request = asyncio.ensure_future(application(scope, proxy, send))
        try:
            await asyncio.wait({reading, request}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            request.cancel()
            await asyncio.gather(reading, request, return_exceptions=True)

    return read_by_serve


@contextlib.asynccontextmanager
async def served(application: AsgiApp, **uvicorn_options: Any) -> AsyncIterator[int]:
    """uvicorn as Serve runs it, on a free port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, lifespan="on", access_log=False, log_level="critical", **uvicorn_options)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        # by itself it would look for these only ten times a second
        server.force_exit = server.should_exit = True
        await server.shutdown(sockets=[listener])
        await server.lifespan.shutdown()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

"""The two deployments. Each replica owns one Node.js child, and a child that dies takes its replica with it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from .arguments import ServiceArguments
from .asgi_bridge import AsgiBridge
from .asr_answer import AsrAnswer, ask_child
from .asr_gateway import AsrGateway
from .command_line import asr_command, child_environment, server_command
from .drain import DrainWatch
from .forwarding import AsgiApp, Receive, Scope, Send
from .metrics import RayRecorder, relay_metrics
from .node_child import NodeChild
from .run_folder import RunFolder

logger = logging.getLogger("ray.serve")

# Long, for a child that is only busy answers late. Less than health_check_timeout_s, so that Serve is told what failed
# before it gives the check up.
_HEALTH_SECONDS = 5.0
_STATUS_SECONDS = 5.0
_STOP_SECONDS = 10.0


class _Replica:
    """What both have: a folder of sockets, a child, and tasks that end with them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.folder = RunFolder()
        self.child: NodeChild | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start_child(self, command: list[str], socket_path: str, ready_seconds: float) -> NodeChild:
        environment = child_environment(os.environ, has_gpus=_assigned("GPU") > 0)
        self.child = NodeChild(self._name, command, environment, socket_path, self._die)
        await self.child.start(ready_seconds)
        self.keep_running(relay_metrics(self.child.read_metrics, RayRecorder()))
        return self.child

    def keep_running(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self.child is not None:
            await self.child.stop(_STOP_SECONDS)
        self.folder.remove()

    def _die(self, code: int) -> None:
        """Ray starts another replica within seconds. An actor that went on would answer with errors until its health
        checks fail."""
        self.folder.remove()
        logger.error("replica ends, because its %s has died with code %d", self._name, code)
        logging.shutdown()
        os._exit(1)


class WhisperASR:
    """Windows of audio in, words out: passes both to and from a child `asr`, which batches them."""

    async def __init__(self, arguments: ServiceArguments) -> None:  # type: ignore[misc]  # Serve awaits it
        self._replica = _Replica("recogniser")
        try:
            socket_path = self._replica.folder.socket_path("asr.sock")
            command = asr_command(arguments, socket_path, _assigned("CPU"), _assigned("GPU"))
            self._child = await self._replica.start_child(command, socket_path, arguments.start_seconds)
        except BaseException:
            await self._replica.close()
            raise

    async def report(self, query: str) -> AsrAnswer:
        """GET /asr."""
        return await ask_child(self._child.session, "GET", f"/asr?{query}")

    async def windows(self, body: bytes) -> AsrAnswer:
        """POST /asr/windows. Cancelled, it cancels the window."""
        return await ask_child(self._child.session, "POST", "/asr/windows", body, "application/msgpack")

    async def check_health(self) -> None:
        await self._child.check_ready(_HEALTH_SECONDS)

    async def close(self) -> None:
        await self._replica.close()


class TranscriptionServer:
    """Streams and files of clients: passes them to a child `serve`, and the child's windows to WhisperASR replicas."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, arguments: ServiceArguments, asr: DeploymentHandle[Any]
    ) -> None:
        self._replica = _Replica("transcription server")
        self._gateway = AsrGateway(asr.report.remote, asr.windows.remote)
        try:
            asr_path = self._replica.folder.socket_path("asr.sock")
            socket_path = self._replica.folder.socket_path("http.sock")
            await self._gateway.start(asr_path)
            command = server_command(arguments, socket_path, asr_path)
            self._child = await self._replica.start_child(command, socket_path, arguments.start_seconds)
        except BaseException:
            await self.close()
            raise
        self._bridge = AsgiBridge(self._child.session)
        self._drain_watch = DrainWatch(_controller_answers, self._child.drain)
        self._replica.keep_running(self._drain_watch.run())

    async def __serve_build_asgi_app__(self) -> AsgiApp:
        # Serve takes a callable object or a bound method for something else
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await self._bridge(scope, receive, send)

        return application

    async def check_health(self) -> None:
        """Of a replica that drains nobody asks; where somebody does, it was taken for one, and has to be replaced."""
        with self._drain_watch.check():
            await self._child.check_ready(_HEALTH_SECONDS)

    async def close(self) -> None:
        await self._replica.close()
        await self._gateway.close()


def _assigned(resource: str) -> float:
    """How much of it Ray gave this replica, a share of a GPU as 0.5; 0 outside of Ray, and where the deployment takes
    none."""
    if not ray.is_initialized():
        return 0
    resources: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    return resources.get(resource, 0)


async def _controller_answers() -> bool:
    """serve.status() blocks, without a limit where the controller is gone: a thread has to wait for it."""
    try:
        await asyncio.wait_for(asyncio.to_thread(serve.status), _STATUS_SECONDS)
    except Exception:
        return False
    return True

"""The application: `whisper_serve.application:build` is its import path, ServiceArguments what it can be told."""

# No `from __future__ import annotations`: Serve reads the class of the argument from the signature.
from ray import serve
from ray.serve import Application

from .arguments import ServiceArguments
from .deployments import TranscriptionServer, WhisperASR


class _ServedASR(WhisperASR):
    async def __del__(self) -> None:
        """Awaited by Serve when the last request of a replica that is to go has ended."""
        await self.close()


class _ServedServer(TranscriptionServer):
    async def __del__(self) -> None:
        """As above."""
        await self.close()


_asr = serve.deployment(
    name="WhisperASR",
    # A safety limit: beyond it Serve's router tries over and over. Batching, queueing and refusal are the child's.
    max_ongoing_requests=1000,
    health_check_period_s=2,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=60,
    graceful_shutdown_wait_loop_s=1,
    ray_actor_options={"num_cpus": 1},
)(_ServedASR)

_server = serve.deployment(
    name="TranscriptionServer",
    # A stream is one request for as long as it is open; how many are let in is the child's to say.
    max_ongoing_requests=2000,
    health_check_period_s=2,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=60,
    graceful_shutdown_wait_loop_s=1,
    ray_actor_options={"num_cpus": 1},
    # Without an application: the class makes it, in the replica.
)(serve.ingress()(_ServedServer))


def build(arguments: ServiceArguments) -> Application:
    """TranscriptionServer takes what clients send and asks WhisperASR.

    How many replicas of each there are, on what, is serve.yaml's to say; what it leaves out is as above.
    """
    return _server.bind(arguments, _asr.bind(arguments))

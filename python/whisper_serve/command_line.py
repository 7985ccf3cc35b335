"""Command lines and environments of the Node.js children: what they are told, what of Ray's environment they see."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .arguments import ServiceArguments

_LAUNCHER = Path("dist/cli/launch.cjs")

# Set by Ray to the whole part of num_cpus, which says nothing of the threads that the engines are told to use; and what
# would contradict the socket. The options below win over every other variable.
_HIDDEN_VARIABLES = frozenset(["OMP_NUM_THREADS", "WHISPER_HOST", "WHISPER_PORT", "WHISPER_SOCKET", "WHISPER_ASR"])
_HIDDEN_PREFIXES = ("RAY_", "PYTHON")


def asr_command(arguments: ServiceArguments, socket_path: str, cpus: float, gpus: float) -> list[str]:
    """`cpus`, `gpus`: what Ray gave the replica. ValueError where it was to compute on a GPU and has none."""
    device = arguments.device
    if gpus == 0 and device in (None, "auto"):
        # It would find none, having looked for it; and its node's WHISPER_DEVICE may be meant for others.
        device = "cpu"
    if gpus == 0 and device == "cuda":
        raise ValueError(
            "device is cuda, and this replica has no share of a GPU: num_gpus in ray_actor_options gives one"
        )
    engines = arguments.engines
    if engines is None and device == "cpu":
        # What Node.js counts is the machine's processors.
        engines = max(1, int(cpus / arguments.threads))
    return [
        *_program(arguments),
        "asr",
        f"--socket={socket_path}",
        *_option("model", arguments.model),
        *_option("device", device),
        *_option("precision", arguments.precision),
        *_option("device-memory", arguments.device_memory_mb),
        *_option("device-share", gpus if 0 < gpus < 1 else None),
        *_option("engines", engines),
        f"--threads={arguments.threads}",
        *_option("max-batch", arguments.max_batch),
        *_option("max-queue", arguments.max_queue),
        *_option("cache", arguments.cache),
        *_common(arguments),
    ]


def server_command(arguments: ServiceArguments, socket_path: str, asr_socket_path: str) -> list[str]:
    """`asr_socket_path`: where the gateway to the WhisperASR replicas listens."""
    server = arguments.server
    return [
        *_program(arguments),
        "serve",
        f"--socket={socket_path}",
        f"--asr=unix:{asr_socket_path}",
        f"--drain-seconds={server.drain_seconds}",
        *_option("max-sessions", server.max_sessions),
        *_option("allowed-origin", None if server.allowed_origins is None else ",".join(server.allowed_origins)),
        *(["--admit-all"] if server.admit_all else []),
        *_option("max-files", server.max_files),
        *_option("max-upload-mb", server.max_upload_mb),
        *_option("max-audio-seconds", server.max_audio_seconds),
        *_option("max-stream-seconds", server.max_stream_seconds),
        *_option("cache", arguments.cache),
        *_common(arguments),
    ]


def child_environment(variables: Mapping[str, str], has_gpus: bool) -> dict[str, str]:
    """`has_gpus`: Ray gave the replica GPUs and named them in CUDA_VISIBLE_DEVICES. Otherwise the child sees none: of a
    replica without, Ray leaves the variable alone, and it would see all."""
    environment = {
        name: value
        for name, value in variables.items()
        if name not in _HIDDEN_VARIABLES and not name.startswith(_HIDDEN_PREFIXES)
    }
    if not has_gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    # Ray and nvidia-smi count by bus. CUDA, unless told, begins with the fastest.
    environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return environment


def find_launcher(given: str | None, variables: Mapping[str, str]) -> str:
    """The first that is said, else the one of the source tree that this package is in; FileNotFoundError where there
    is none."""
    beside_package = Path(__file__).resolve().parents[2] / _LAUNCHER
    launcher = Path(given or variables.get("WHISPER_LAUNCHER") or beside_package)
    if not launcher.is_file():
        raise FileNotFoundError(
            f"there is no {launcher}; npm run build makes it, the argument launcher or WHISPER_LAUNCHER says where"
        )
    return str(launcher)


def _program(arguments: ServiceArguments) -> list[str]:
    return [arguments.node, find_launcher(arguments.launcher, os.environ)]


def _common(arguments: ServiceArguments) -> list[str]:
    return [*_option("log-level", arguments.log_level), "--until-stdin-ends"]


def _option(name: str, value: float | str | None) -> list[str]:
    return [] if value is None else [f"--{name}={value}"]

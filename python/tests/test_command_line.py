"""Arguments are checked, and become command lines and environments."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from harness import FAKE_CHILD
from pydantic import ValidationError

from whisper_serve.application import build
from whisper_serve.arguments import ServerArguments, ServiceArguments
from whisper_serve.command_line import asr_command, child_environment, find_launcher, server_command


def test_serve_finds_the_class_of_the_arguments() -> None:
    """Serve checks `args` only against a class that it finds in the builder's signature."""
    (parameter,) = inspect.signature(build).parameters.values()
    assert parameter.annotation is ServiceArguments
    assert build(ServiceArguments()) is not None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"modle": "base"}, "modle"),
        ({"server": {"max_session": 3}}, "server.max_session"),
        ({"precision": "int4"}, "precision"),
        ({"engines": 0}, "engines"),
        ({"device": "gpu"}, "device"),
        ({"device_memory_mb": 100}, "device_memory_mb"),
        ({"max_batch": 257}, "max_batch"),
        ({"server": {"drain_seconds": -1}}, "server.drain_seconds"),
        ({"model": ""}, "model"),
        ({"log_level": "loud"}, "log_level"),
    ],
)
def test_what_nobody_knows_or_cannot_be_is_refused_by_name(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=rf"(?m)^{re.escape(named)}$"):
        ServiceArguments.model_validate(arguments)


@pytest.mark.parametrize("arguments", [ServiceArguments, ServerArguments])
def test_every_argument_is_explained(arguments: type[ServiceArguments | ServerArguments]) -> None:
    assert all(field.description for field in arguments.model_fields.values())


def test_the_recogniser_is_told_what_was_said_and_threads_in_any_case() -> None:
    arguments = ServiceArguments(
        launcher=FAKE_CHILD,
        node="/opt/node",
        model="tiny.en",
        precision="int8",
        cache="/models",
        max_batch=2,
        max_queue=9,
    )
    assert asr_command(arguments, "/run/a.sock", cpus=4, gpus=0) == [
        "/opt/node",
        FAKE_CHILD,
        "asr",
        "--socket=/run/a.sock",
        "--model=tiny.en",
        "--device=cpu",
        "--precision=int8",
        "--engines=4",
        "--threads=1",
        "--max-batch=2",
        "--max-queue=9",
        "--cache=/models",
        "--until-stdin-ends",
    ]


def test_what_nobody_said_is_left_to_variables_and_defaults_of_the_command() -> None:
    """A variable of the environment holds only where the command line says nothing."""
    arguments = ServiceArguments(launcher=FAKE_CHILD)
    options = asr_command(arguments, "/s", cpus=1, gpus=1)[3:]
    assert options == ["--socket=/s", "--threads=1", "--until-stdin-ends"]
    server = server_command(arguments, "/s", "/a")[3:]
    assert server == ["--socket=/s", "--asr=unix:/a", "--drain-seconds=15", "--until-stdin-ends"]


@pytest.mark.parametrize(
    ("engines", "threads", "cpus", "expected"),
    [(None, 1, 4, 4), (None, 2, 5, 2), (None, 1, 0.5, 1), (None, 1, 0, 1), (None, 8, 4, 1), (3, 1, 16, 3)],
)
def test_engines_fill_the_processors_of_the_replica(
    engines: int | None, threads: int, cpus: float, expected: int
) -> None:
    arguments = ServiceArguments(launcher=FAKE_CHILD, engines=engines, threads=threads)
    assert f"--engines={expected}" in asr_command(arguments, "/s", cpus, gpus=0)


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        (None, 0, ["--device=cpu", "--engines=3"]),
        ("auto", 0, ["--device=cpu", "--engines=3"]),
        ("cpu", 1, ["--device=cpu", "--engines=3"]),
        # how many engines suit a GPU is the command's to say
        (None, 1, []),
        ("auto", 0.5, ["--device=auto", "--device-share=0.5"]),
        ("cuda", 0.25, ["--device=cuda", "--device-share=0.25"]),
        ("cuda", 1, ["--device=cuda"]),
        # Ray knows nothing of such GPUs
        ("webgpu", 0, ["--device=webgpu"]),
    ],
)
def test_a_replica_without_a_share_of_a_gpu_looks_for_none(device: Any, gpus: float, expected: list[str]) -> None:
    command = asr_command(ServiceArguments(launcher=FAKE_CHILD, device=device), "/s", cpus=3, gpus=gpus)
    assert [option for option in command if option.startswith(("--device", "--engines"))] == expected


def test_a_replica_that_needs_a_gpu_says_so_where_ray_gave_it_none() -> None:
    arguments = ServiceArguments(launcher=FAKE_CHILD, device="cuda")
    with pytest.raises(ValueError, match="no share of a GPU: num_gpus"):
        asr_command(arguments, "/s", cpus=1, gpus=0)


def test_the_recogniser_is_told_of_its_gpu() -> None:
    arguments = ServiceArguments(
        launcher=FAKE_CHILD, device="cuda", precision="float16", device_memory_mb=9000, engines=3, max_batch=64
    )
    assert asr_command(arguments, "/s", cpus=2, gpus=0.5)[4:-1] == [
        "--device=cuda",
        "--precision=float16",
        "--device-memory=9000",
        "--device-share=0.5",
        "--engines=3",
        "--threads=1",
        "--max-batch=64",
    ]


def test_the_server_is_told_where_the_recogniser_is() -> None:
    server = ServerArguments(
        max_sessions=5, drain_seconds=3, allowed_origins=("https://a", "https://b"), admit_all=True, max_files=2
    )
    arguments = ServiceArguments(launcher=FAKE_CHILD, log_level="warn", server=server)
    assert server_command(arguments, "/run/h.sock", "/run/a.sock")[2:] == [
        "serve",
        "--socket=/run/h.sock",
        "--asr=unix:/run/a.sock",
        "--drain-seconds=3",
        "--max-sessions=5",
        "--allowed-origin=https://a,https://b",
        "--admit-all",
        "--max-files=2",
        "--log-level=warn",
        "--until-stdin-ends",
    ]


def test_the_child_sees_the_gpus_of_its_replica_only_and_nothing_of_ray() -> None:
    variables = {
        "CUDA_VISIBLE_DEVICES": "2,3",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_TOKEN": "secret",
        "PYTHONPATH": "/x",
        "WHISPER_PORT": "1",
        "WHISPER_API_KEYS": "key",
        "PATH": "/bin",
    }
    kept = {"WHISPER_API_KEYS": "key", "PATH": "/bin", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert child_environment(variables, has_gpus=True) == {**kept, "CUDA_VISIBLE_DEVICES": "2,3"}
    assert child_environment(variables, has_gpus=False) == {**kept, "CUDA_VISIBLE_DEVICES": ""}
    assert child_environment({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, has_gpus=False) == {
        "CUDA_DEVICE_ORDER": "FASTEST_FIRST",
        "CUDA_VISIBLE_DEVICES": "",
    }


def test_the_launcher_is_the_one_that_is_said(tmp_path: Path) -> None:
    launcher = tmp_path / "launch.cjs"
    with pytest.raises(FileNotFoundError, match=r"launch\.cjs; npm run build"):
        find_launcher(str(launcher), {})
    launcher.touch()
    assert find_launcher(str(launcher), {"WHISPER_LAUNCHER": FAKE_CHILD}) == str(launcher)
    assert find_launcher(None, {"WHISPER_LAUNCHER": FAKE_CHILD}) == FAKE_CHILD

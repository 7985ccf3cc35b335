"""Run folders: private, found again by nobody, swept when their process is gone."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
from pathlib import Path

import pytest

from whisper_serve.run_folder import RunFolder


def _dead_pid() -> int:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return process.pid


def _leave(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    (folder / "http.sock").touch()
    return folder


def test_only_its_user_may_enter(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert str(os.getpid()) in folder.path.name
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_dead_processes_are_swept_and_nothing_else(tmp_path: Path) -> None:
    dead = _dead_pid()
    gone = _leave(tmp_path, f"whisper-{dead}-abc_1")
    others = [
        _leave(tmp_path, f"whisper-{os.getpid()}-abc"),
        _leave(tmp_path, f"whisperer-{dead}-abc"),
        _leave(tmp_path, "whisper-cache"),
    ]
    target = _leave(tmp_path, "target")
    link = tmp_path / f"whisper-{dead}-link"
    link.symlink_to(target)
    RunFolder(str(tmp_path)).remove()
    assert not gone.exists()
    assert all(other.exists() for other in [*others, target, link])


def test_a_folder_whose_lock_is_held_stays_though_its_pid_is_unknown_here(tmp_path: Path) -> None:
    folder = _leave(tmp_path, f"whisper-{_dead_pid()}-abc")
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    RunFolder(str(tmp_path)).remove()
    assert folder.exists()
    os.close(lock)
    RunFolder(str(tmp_path)).remove()
    assert not folder.exists()


def test_a_path_that_no_socket_can_have_is_named(tmp_path: Path) -> None:
    parent = tmp_path / ("x" * 100)
    parent.mkdir()
    folder = RunFolder(str(parent))
    with pytest.raises(ValueError, match=r"at most 103 are possible: /.*set TMPDIR"):
        folder.socket_path("http.sock")

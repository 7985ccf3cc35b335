"""The folder of a process's Unix sockets: private, short, and swept away when the process that made it is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

# Of a socket's path, with the zero byte at its end: 108 on Linux, 104 on macOS. asyncio and Node.js only say "invalid
# argument".
_MAX_SOCKET_PATH_BYTES = 103
_NAME = re.compile(r"whisper-(\d+)-\w+")


class RunFolder:
    """A new folder that only this user may enter.

    Its name holds the process's id, and the process holds a lock in it as long as it lives: an id may be in use again,
    or belong to
    another container with the same temporary folder, but a lock ends with its process, also after kill -9.
    """

    def __init__(self, parent: str | None = None) -> None:
        """`parent`: the system's temporary folder where it is None."""
        parent = parent or tempfile.gettempdir()
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=f"whisper-{os.getpid()}-", dir=parent))
        self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def socket_path(self, name: str) -> str:
        """The path of a socket in the folder, for a server that makes it; ValueError where the system could not bind
        it."""
        path = str(self.path / name)
        length = len(os.fsencode(path))
        if length > _MAX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"the path of a Unix socket has {length} bytes, at most {_MAX_SOCKET_PATH_BYTES} are possible: {path}; "
                "set TMPDIR to a folder with a shorter path"
            )
        return path

    def remove(self) -> None:
        """Removes the folder with all that is in it; idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _sweep(parent: str) -> None:
    """Removes folders of processes that ended without doing it."""
    with os.scandir(parent) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and entry.is_dir(follow_symlinks=False) and not _is_alive(int(match[1])):
                with contextlib.suppress(OSError):
                    _remove_unlocked(Path(entry.path))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_unlocked(folder: Path) -> None:
    """OSError where somebody holds its lock, or it is another user's."""
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(lock)

"""A child lives and dies with its owner, and its owner hears of its death."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import aiohttp
import pytest
from harness import FAKE_CHILD, eventually, fake_child

from whisper_serve.last_words import LastWords
from whisper_serve.node_child import NodeChild


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _pid(child: NodeChild) -> int:
    assert child._process is not None
    return child._process.pid


async def test_a_child_is_started_when_it_is_ready_and_stopped_in_order(tmp_path: Path) -> None:
    deaths: list[int] = []
    async with fake_child(tmp_path, on_death=deaths.append) as child:
        await child.check_ready(1)
        assert "whisper_fake_total" in await child.read_metrics()
        pid = _pid(child)
    assert child.has_ended
    assert not _is_running(pid)
    assert deaths == []
    assert list(tmp_path.iterdir()) == []


async def test_readiness_is_what_the_child_says_now(tmp_path: Path) -> None:
    async with fake_child(tmp_path) as child:
        async with child.session.get("http://child/unready"):
            pass
        with pytest.raises(RuntimeError, match="not_ready"):
            await child.check_ready(1)
        os.kill(_pid(child), signal.SIGSTOP)
        try:
            with pytest.raises(asyncio.TimeoutError):
                await child.check_ready(0.1)
        finally:
            os.kill(_pid(child), signal.SIGCONT)


async def test_a_child_that_ends_before_it_is_ready_fails_the_start_with_its_code_and_last_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deaths: list[int] = []
    with pytest.raises(RuntimeError, match=r"ended with code 9 before it was ready: error: there is no GPU$"):
        async with fake_child(tmp_path, on_death=deaths.append, FAKE_EXIT_AT_START="9"):
            pass
    assert deaths == []
    assert capfd.readouterr().err == "error: there is no GPU\n\n"


async def test_last_words_are_the_last_line_however_it_comes(capfd: pytest.CaptureFixture[str]) -> None:
    words = LastWords()
    assert words.line == ""
    stream = asyncio.StreamReader()
    for chunk in [b"x" * 5_000, b"\nfirst\nla", b"st \xff line\n", b" \n"]:
        stream.feed_data(chunk)
    stream.feed_eof()
    await words.pass_on(stream)
    assert words.line == "last \ufffd line"
    # nothing is lost on the way
    assert capfd.readouterr().err.startswith("x" * 5_000 + "\nfirst\nlast ")


async def test_a_child_that_is_never_ready_fails_the_start_and_is_gone(tmp_path: Path) -> None:
    with pytest.raises(asyncio.TimeoutError):
        async with fake_child(tmp_path, ready_seconds=0.3, FAKE_NEVER_READY="1"):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [0, 7])
async def test_a_ready_child_that_ends_by_itself_is_a_death(tmp_path: Path, code: int) -> None:
    deaths: list[int] = []
    async with fake_child(tmp_path, on_death=deaths.append) as child:
        with pytest.raises(aiohttp.ClientError):
            await child.session.get(f"http://child/exit?code={code}")
        await eventually(lambda: deaths == [code])


async def test_a_child_that_is_killed_is_a_death(tmp_path: Path) -> None:
    deaths: list[int] = []
    async with fake_child(tmp_path, on_death=deaths.append) as child:
        os.kill(_pid(child), signal.SIGKILL)
        await eventually(lambda: deaths == [-signal.SIGKILL])


@pytest.mark.parametrize(("code", "deaths"), [("0", []), ("4", [4])])
async def test_a_child_that_drains_may_end_but_not_fail(tmp_path: Path, code: str, deaths: list[int]) -> None:
    heard: list[int] = []
    async with fake_child(tmp_path, on_death=heard.append, FAKE_SIGTERM_CODE=code) as child:
        child.drain()
        await eventually(lambda: child.has_ended)
        await asyncio.sleep(0)
        await eventually(lambda: heard == deaths)


async def test_a_child_that_does_not_heed_the_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    deaths: list[int] = []
    async with fake_child(tmp_path, on_death=deaths.append, FAKE_IGNORE_SIGTERM="1") as child:
        started = time.monotonic()
        await child.stop(0.2)
        assert 0.2 <= time.monotonic() - started < 2
        assert child.has_ended
        await child.stop(0.2)
    assert deaths == []


async def test_a_child_does_not_outlive_an_owner_that_is_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio, os, sys
        from whisper_serve.node_child import NodeChild

        async def main():
            command = ["node", {FAKE_CHILD!r}, "serve", "--socket={tmp_path}/c.sock", "--until-stdin-ends"]
            child = NodeChild("fake", command, os.environ, "{tmp_path}/c.sock", lambda code: None)
            await child.start(10)
            print(child._process.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """)
    root = Path(__file__).parents[1]
    owner = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(await asyncio.to_thread(owner.stdout.readline))
    assert _is_running(pid)
    owner.kill()
    killed = time.monotonic()
    await eventually(lambda: not _is_running(pid))
    assert time.monotonic() - killed < 2
    owner.wait()
    owner.stdout.close()

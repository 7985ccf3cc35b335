"""A stream over a real socket, against a server that follows a script."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import pytest
from conftest import KeptFigures, make_clip
from scripted_server import ScriptedConnection, ScriptedServer

from load_test.plan import plan_stream
from load_test.stream_client import Ending, StreamClient

PLAN = plan_stream([make_clip("tenths", 0.55)], 0, 1)
CONFIG = {"language": "en"}


def play(script: Callable[[ScriptedConnection], None], figures: KeptFigures) -> tuple[Ending, ScriptedConnection]:
    with ScriptedServer(script) as server:
        ending = StreamClient(server.url, {"Authorization": "Bearer key"}, PLAN, figures).play(CONFIG)
        return ending, server.connections[0]


def transcribe(client: ScriptedConnection) -> None:
    client.accept()
    client.read_to_end()
    client.say(type="no_speech", start=0, end=0.55)
    client.say(type="end", audio_seconds=0.55, segments=0)
    client.close(1000)


def test_all_audio_is_sent_in_real_time_and_the_stream_ends_in_order(figures: KeptFigures) -> None:
    with ScriptedServer(transcribe) as server:
        client = StreamClient(server.url, {"Authorization": "Bearer key"}, PLAN, figures)
        ending = client.play(CONFIG)
    (connection,) = server.connections
    assert ending.kind == "done"
    assert ending.end_milliseconds is not None
    assert ending.end_milliseconds >= 0
    assert connection.audio_bytes == 0.55 * 32_000
    assert connection.texts == [CONFIG, {"type": "end"}]
    assert connection.headers["authorization"] == "Bearer key"
    assert "origin" not in connection.headers
    assert len(figures.late) == 6
    assert figures.connects == 1
    client.record.ledger.close(0.55)
    assert client.record.ledger.gaps == []


def test_an_interrupted_stream_sends_no_more_and_ends_in_order(figures: KeptFigures) -> None:
    with ScriptedServer(transcribe) as server:
        client = StreamClient(server.url, {}, PLAN, figures)
        gevent.spawn_later(0.25, client.interrupt)
        ending = client.play(CONFIG)
    assert ending.kind == "done"
    assert 0 < server.connections[0].audio_bytes < 0.55 * 32_000


def reject(client: ScriptedConnection) -> None:
    client.reject(503, {"Retry-After": "7"})


def deny(client: ScriptedConnection) -> None:
    client.reject(401, {})


def refuse_page(client: ScriptedConnection) -> None:
    client.accept()
    client.say(type="error", code="overloaded", message="", retry_after=9)
    client.close(1013)


def fail(client: ScriptedConnection) -> None:
    client.accept()
    client.read_until(lambda self: self.audio_bytes > 0)
    client.say(type="error", code="internal", message="")
    client.close(1011)


def vanish(client: ScriptedConnection) -> None:
    client.accept()
    client.read_until(lambda self: self.audio_bytes > 0)
    client.drop()


def leave(client: ScriptedConnection) -> None:
    client.accept()
    client.read_until(lambda self: self.audio_bytes > 0)
    client.say(type="going_away")
    client.close(1001)


def end_early(client: ScriptedConnection) -> None:
    client.accept()
    client.close(1000)


@pytest.mark.parametrize(
    ("script", "ending"),
    [
        (reject, Ending("refused", "HTTP 503", 7)),
        (refuse_page, Ending("refused", "closed with 1013", 9)),
        (deny, Ending("broken", "handshake: HTTP 401")),
        (fail, Ending("broken", "internal, closed with 1011")),
        (vanish, Ending("broken", "closed with 1006 before its end")),
        (leave, Ending("broken", "going_away, closed with 1001")),
        (end_early, Ending("broken", "closed with 1000 before its end")),
    ],
)
def test_how_a_stream_ends_is_told_apart(
    script: Callable[[ScriptedConnection], None], ending: Ending, figures: KeptFigures
) -> None:
    assert play(script, figures)[0] == ending


def test_a_server_that_is_not_there_breaks_the_stream(figures: KeptFigures) -> None:
    with ScriptedServer(transcribe) as server:
        url = server.url
    ending = StreamClient(url, {}, PLAN, figures).play(CONFIG)
    assert ending == Ending("broken", "no connection: Connection refused")

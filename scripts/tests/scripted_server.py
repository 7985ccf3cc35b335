"""A WebSocket server that says what the test wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gevent
from gevent.server import StreamServer
from gevent.socket import socket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, Request, TextMessage


class ScriptedConnection:
    """One client."""

    def __init__(self, socket: socket) -> None:
        self.audio_bytes = 0
        self.texts: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self._socket = socket
        self._protocol = WSConnection(ConnectionType.SERVER)

    def accept(self) -> None:
        self._send(AcceptConnection())

    def reject(self, status: int, headers: dict[str, str]) -> None:
        self._send(RejectConnection(status, [(k.encode(), v.encode()) for k, v in headers.items()], has_body=False))
        self.drop()

    def say(self, **message: object) -> None:
        self._send(TextMessage(json.dumps(message)))

    def close(self, code: int) -> None:
        self._send(CloseConnection(code))

    def drop(self) -> None:
        self._socket.close()

    def read_until(self, is_enough: Callable[[ScriptedConnection], bool]) -> None:
        while not is_enough(self):
            data = self._socket.recv(65536)
            if not data:
                return
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                match event:
                    case Request():
                        self.headers = {name.decode(): value.decode() for name, value in event.extra_headers}
                        self.headers[":path"] = event.target
                    case BytesMessage():
                        self.audio_bytes += len(event.data)
                    case TextMessage():
                        self.texts.append(json.loads(event.data))

    def read_to_end(self) -> None:
        self.read_until(lambda self: {"type": "end"} in self.texts)

    def _send(self, event: Any) -> None:
        self._socket.sendall(self._protocol.send(event))


class ScriptedServer:
    """Runs the script for each client, once its request is there."""

    def __init__(self, script: Callable[[ScriptedConnection], None]) -> None:
        self.connections: list[ScriptedConnection] = []

        def serve(socket: socket, _: object) -> None:
            connection = ScriptedConnection(socket)
            self.connections.append(connection)
            connection.read_until(lambda self: bool(self.headers))
            script(connection)
            # until the client has gone
            while socket.fileno() >= 0 and socket.recv(65536):
                gevent.sleep(0)

        self._server = StreamServer(("127.0.0.1", 0), serve)

    def __enter__(self) -> ScriptedServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(timeout=0)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.server_port}/stream"

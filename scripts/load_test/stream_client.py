"""Sends one stream in real time over a WebSocket and reads the answers meanwhile, in two greenlets."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple, Protocol

import gevent
import websocket
from gevent.event import Event

from .plan import FRAME_SAMPLES, FRAME_SECONDS, StreamPlan
from .refusal import retry_after_seconds
from .stream_record import StreamObserver, StreamRecord

CONNECT_TIMEOUT_SECONDS = 10.0
# For what is still to be decoded when `end` is sent; shorter than the time that Locust gives its users to stop.
END_TIMEOUT_SECONDS = 45.0
_CLOSE_TIMEOUT_SECONDS = 5.0
_FRAME_BYTES = FRAME_SAMPLES * 2
_NORMAL, _NO_STATUS, _ABNORMAL, _OVERLOADED = 1000, 1005, 1006, 1013


class ClientObserver(StreamObserver, Protocol):
    def connected(self, milliseconds: float) -> None: ...

    def frame_late(self, milliseconds: float) -> None: ...


class Ending(NamedTuple):
    """How a stream ended."""

    kind: Literal["done", "refused", "broken"]
    # for people; the same words for the same cause, for Locust counts equal ones together
    reason: str = ""
    # how long the service asks to wait
    retry_after: float | None = None
    # from the sending of `end` to its answer
    end_milliseconds: float | None = None


class StreamClient:
    """One stream, played once."""

    def __init__(self, url: str, headers: Mapping[str, str], plan: StreamPlan, observer: ClientObserver) -> None:
        self.record = StreamRecord(plan, observer)
        self._url = url
        self._headers = dict(headers)
        self._plan = plan
        self._observer = observer
        self._is_closed = False
        self._close_code = _ABNORMAL
        # set when no more audio is to be sent
        self._wake = Event()
        self._ended = Event()
        self._ended_at = 0.0

    def interrupt(self) -> None:
        """Sends no more audio, and lets what was sent become final."""
        self._wake.set()

    def play(self, config: Mapping[str, Any]) -> Ending:
        """Returns when the stream is over, however it ended."""
        socket = self._connect()
        if isinstance(socket, Ending):
            return socket
        reader = gevent.spawn(self._read, socket)
        end_sent_at = None
        try:
            socket.send(json.dumps(config))
            self._send_audio(socket)
            if not self._is_closed:
                end_sent_at = time.perf_counter()
                socket.send('{"type":"end"}')
                self._ended.wait(END_TIMEOUT_SECONDS)
        except (OSError, websocket.WebSocketException):
            # it is closed, and the reader knows how
            pass
        finally:
            # when this greenlet is killed, too
            with suppress(OSError):
                reader.join(timeout=_CLOSE_TIMEOUT_SECONDS)
                reader.kill(block=False)
                socket.shutdown()
        return self._ending(end_sent_at)

    def _connect(self) -> websocket.WebSocket | Ending:
        began = time.perf_counter()
        try:
            socket = websocket.create_connection(
                self._url,
                timeout=CONNECT_TIMEOUT_SECONDS,
                header=self._headers,
                # what sends an origin is a page in a browser, which the service answers otherwise
                suppress_origin=True,
                skip_utf8_validation=True,
            )
        except websocket.WebSocketBadStatusException as error:
            if error.status_code == 503:
                return Ending("refused", "HTTP 503", retry_after_seconds(error.resp_headers or {}))
            return Ending("broken", f"handshake: HTTP {error.status_code}")
        except websocket.WebSocketTimeoutException:
            return Ending("broken", "handshake: no answer in time")
        except OSError as error:
            return Ending("broken", f"no connection: {error.strerror or type(error).__name__}")
        except websocket.WebSocketException as error:
            return Ending("broken", f"handshake: {type(error).__name__}")
        socket.settimeout(None)
        self._observer.connected((time.perf_counter() - began) * 1000)
        return socket

    def _send_audio(self, socket: websocket.WebSocket) -> None:
        """Each frame when it is full, as a microphone hands it over; the schedule does not drift."""
        pcm = self._plan.pcm()
        began = free_at = time.perf_counter()
        for frame in range(self._plan.frame_count):
            due = began + (frame + 1) * FRAME_SECONDS
            # gevent's timers count from when its loop last looked at the clock, and so may be early
            while (delay := due - time.perf_counter()) > 0 and not self._wake.is_set():
                self._wake.wait(delay)
            if self._wake.is_set():
                return
            now = time.perf_counter()
            # Where the service did not take the frame before, it is the one that is late.
            self._observer.frame_late(max(0.0, now - max(due, free_at)) * 1000)
            self.record.on_sent(now)
            socket.send_binary(pcm[frame * _FRAME_BYTES : (frame + 1) * _FRAME_BYTES])
            free_at = time.perf_counter()

    def _read(self, socket: websocket.WebSocket) -> None:
        """Until the connection is closed."""
        try:
            while True:
                opcode, data = socket.recv_data()
                at = time.perf_counter()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    self._close_code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else _NO_STATUS
                    return
                self.record.on_message(json.loads(data), at)
                if self.record.has_ended and not self._ended.is_set():
                    self._ended_at = at
                    self._ended.set()
        except (OSError, websocket.WebSocketException):
            # without a close frame: the code stays as it is
            pass
        finally:
            self._is_closed = True
            self._ended.set()
            self._wake.set()

    def _ending(self, end_sent_at: float | None) -> Ending:
        record = self.record
        if record.was_refused or (self._close_code == _OVERLOADED and record.ledger.covered_seconds == 0):
            return Ending("refused", f"closed with {self._close_code}", record.retry_after_seconds)
        if record.error is not None:
            return Ending("broken", f"{record.error}, closed with {self._close_code}")
        if not self._is_closed:
            return Ending("broken", "not closed in time" if record.has_ended else "no end in time")
        if not record.has_ended or end_sent_at is None:
            return Ending("broken", f"closed with {self._close_code} before its end")
        if self._close_code != _NORMAL:
            return Ending("broken", f"closed with {self._close_code} after its end")
        return Ending("done", end_milliseconds=(self._ended_at - end_sent_at) * 1000)

"""Limits how far Serve reads ahead of the application, so that a child that is slow to read holds its client back.

Serve reads what a client sends into a queue without a size, to hear of a disconnect early: a client that sends faster
than the child reads would fill the replica's memory.
"""

from __future__ import annotations

import asyncio
import contextlib

from .client_pings import ClientPings
from .forwarding import Message, Receive

# Each may be as large as a client's message.
_MESSAGES = 4


def limit_read_ahead(receive: Receive) -> Receive:
    """What to call instead of `receive`. Other servers' `receive`, such as uvicorn's own, holds back by itself and is
    returned as it is."""
    queue = getattr(receive, "queue", None)
    if not isinstance(queue, asyncio.Queue):
        return receive
    room = asyncio.Event()
    pings = ClientPings(receive)

    async def put(message: Message) -> None:
        if queue.qsize() >= _MESSAGES:
            with pings.resting() if message["type"].startswith("websocket.") else contextlib.nullcontext():
                await has_room()
        queue.put_nowait(message)

    async def has_room() -> None:
        while queue.qsize() >= _MESSAGES:
            room.clear()
            await room.wait()

    async def receive_and_make_room() -> Message:
        message = await receive()
        room.set()
        return message

    # Serve's reader awaits put where it runs in this loop; where it runs in another it does not, and is not limited.
    queue.put = put  # type: ignore[method-assign, assignment]
    return receive_and_make_room

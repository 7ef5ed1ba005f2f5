"""Answers that take a while: played from a stream of events, and given up when the client goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vllm_mlx.core.errors import AppError
from vllm_mlx.server import sse
from vllm_mlx.server.errors import internal_error, presentable

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0
_WRITES_IN_A_ROW = 4
"""A stream whose events are there already would else write without a pause: nobody else would be served, and
a lost connection not be noticed (from the fifth write on a lost connection asyncio fills the log)."""

E = TypeVar("E")
T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Run `work` to its end, or cancel it when the client disconnects and return None.

    The request's body must have been read: until then a disconnect hides behind it.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class WorkReply(Response):
    """Does one piece of work, then answers with what it brought: JSON.

    Args:
        work: cancelled when the client goes away. An `AppError` of it is left to the error handlers.
    """

    def __init__(self, work: Coroutine[Any, Any, bytes]) -> None:
        super().__init__()
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Work, then send."""
        body = await while_connected(receive, self._work)
        if body is not None:
            await Response(body, media_type="application/json")(scope, receive, send)


class WholeReply(Response, Generic[E]):
    """Collects all events, then answers once.

    Args:
        events: closed at the end, whatever the end is.
        add: takes one event.
        body: the answer, asked for after the last event.
    """

    def __init__(
        self,
        events: AsyncGenerator[E, None],
        add: Callable[[E], None],
        body: Callable[[], bytes],
    ) -> None:
        super().__init__()
        self._events = events
        self._add = add
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Play the events, then send. An `AppError` of the events is left to the error handlers."""
        body = await while_connected(receive, self._collect())
        if body is not None:
            await Response(body, media_type="application/json")(scope, receive, send)

    async def _collect(self) -> bytes:
        try:
            async for event in self._events:
                self._add(event)
        finally:
            await self._events.aclose()
        return self._body()


@dataclass(frozen=True, slots=True)
class StreamStyle:
    """What a dialect's streams send besides their events.

    Attributes:
        error_frame: the frame of an error.
        end: the last bytes, after an error too.
        keep_alive: a sign of life in a long silence.
    """

    error_frame: Callable[[AppError], bytes]
    end: bytes = sse.DONE
    keep_alive: bytes = sse.KEEP_ALIVE


class EventStream(Response, Generic[E]):
    """Sends each event as it comes, as server-sent events.

    The headers wait for the first event, so that what fails before it is an HTTP error; after
    `keep_alive_s` of silence they go out with a sign of life, and what fails from then on is an event.

    Args:
        events: closed at the end, whatever the end is.
        frames: the frames of one event, joined; empty if it has none.
        style: what the dialect sends besides its events.
    """

    def __init__(
        self,
        events: AsyncGenerator[E, None],
        frames: Callable[[E], bytes],
        style: StreamStyle,
        *,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        super().__init__(headers=sse.HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._frames = frames
        self._style = style
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Play the events until their end, or until the client goes away."""
        await while_connected(receive, self._play(_Wire(send, self.raw_headers)))

    async def _play(self, wire: _Wire) -> None:
        beating = asyncio.create_task(wire.keep_alive(self._style.keep_alive, self._keep_alive_s))
        try:
            await self._send_all(wire)
            await wire.close(self._style.end)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await self._events.aclose()

    async def _send_all(self, wire: _Wire) -> None:
        try:
            async for event in self._events:
                frames = self._frames(event)
                if frames:
                    await wire.write(frames)
        except AppError as error:
            if not wire.started:
                raise
            await wire.write(self._style.error_frame(presentable(error)))
        except Exception:
            if not wire.started:
                raise
            logger.exception("a stream failed after its first byte")
            await wire.write(self._style.error_frame(internal_error()))


class _Wire:
    """One response body, written by the player and, in its pauses, by the keep-alive."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = False
        self._send = send
        self._headers = headers
        self._lock = asyncio.Lock()
        self._closed = False
        self._wrote = False
        self._writes = 0

    async def write(self, data: bytes, *, more: bool = True) -> None:
        async with self._lock:
            if self._closed:
                return
            if not self.started:
                self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            self._closed = not more
            self._wrote = True
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._writes += 1
        if self._writes % _WRITES_IN_A_ROW == 0:
            await asyncio.sleep(0)

    async def close(self, data: bytes) -> None:
        await self.write(data, more=False)

    async def keep_alive(self, data: bytes, interval_s: float) -> None:
        while True:
            self._wrote = False
            await asyncio.sleep(interval_s)
            if not self._wrote:
                await self.write(data)

"""One connection, ended when its client stands still or dawdles: it must read, and finish what it asks."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.server.openai.errors import error_body

STALL_S = 60.0
"""Working clients read within milliseconds and send without pause."""
BODY_S = 600.0
"""For a whole body, however steadily it drips: the largest takes as long at half a megabit a second."""


class PatientConnection(H11Protocol):
    """uvicorn's protocol, whose patience with the client has an end.

    A client that takes nothing would keep its request's rows and texts for ever, one that sends nothing its
    connection, and one that sends a byte now and then both. Closing would wait for the client to read, so the
    connection is aborted: for the request that is as if the client had left. One that ends its own side has
    left: whether it would still read is known only when it is written to, long after its tokens were made.
    """

    stall_s = STALL_S
    body_s = BODY_S
    _unread: asyncio.TimerHandle | None = None
    _unsent: asyncio.TimerHandle | None = None
    _unfinished: asyncio.TimerHandle | None = None
    _awaited: object = None
    """What the deadline of `_unfinished` is for: the state in which h11 reads a head, or a body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A request is expected now."""
        super().connection_made(transport)
        self._expect_data()

    def data_received(self, data: bytes) -> None:
        """More of a request; as long as it is not whole, even more is expected."""
        super().data_received(data)
        self._expect_data()
        self._expect_end()

    def on_response_complete(self) -> None:
        """The next request may be here in part already, sent before this one was answered."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._expect_data()
            self._expect_end()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is written to."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        super().resume_writing()
        _stop(self._unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        super().connection_lost(exc)
        _stop(self._unread)
        _stop(self._unsent)
        _stop(self._unfinished)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered as any other error: as JSON. There is no path to tell a dialect by."""
        body = error_body(InvalidRequest(msg, code="invalid_http"), 400)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect_data(self) -> None:
        _stop(self._unsent)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.transport.is_closing():
            self._unsent = self.loop.call_later(self.stall_s, self.transport.abort)

    def _expect_end(self) -> None:
        """A head has as long as a pause may last, whatever comes in drips; a body has longer."""
        awaited = self.conn.their_state
        if awaited is self._awaited:
            return
        self._awaited = awaited
        _stop(self._unfinished)
        limit_s = {h11.IDLE: self.stall_s, h11.SEND_BODY: self.body_s}.get(awaited)
        if limit_s is not None and not self.transport.is_closing():
            self._unfinished = self.loop.call_later(limit_s, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

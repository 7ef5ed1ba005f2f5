"""One connection, ended when its client stands still: it reads nothing, or leaves its request unfinished."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

STALL_S = 60.0
"""Working clients read within milliseconds and send without pause."""


class PatientConnection(H11Protocol):
    """uvicorn's protocol, whose patience with the client has an end.

    A client that takes nothing would keep its request's rows and texts for ever, one that sends nothing its
    connection. Closing would wait for the client to read, so the connection is aborted: for the request that
    is as if the client had left.
    """

    stall_s = STALL_S
    _unread: asyncio.TimerHandle | None = None
    _unsent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A request is expected now."""
        super().connection_made(transport)
        self._expect_data()

    def data_received(self, data: bytes) -> None:
        """More of a request; as long as it is not whole, even more is expected."""
        super().data_received(data)
        self._expect_data()

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

    def _expect_data(self) -> None:
        _stop(self._unsent)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.transport.is_closing():
            self._unsent = self.loop.call_later(self.stall_s, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

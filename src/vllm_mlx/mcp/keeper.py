"""Keeps one server connected: connects, watches, and connects again after a pause that grows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from vllm_mlx.core.clock import Clock
from vllm_mlx.core.errors import AppError, Unavailable
from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.tools import (
    Listing,
    OfferedTool,
    ServerHealth,
    ServerState,
    Tool,
    ToolOutcome,
    offered_names,
)

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0
"""A connection that held for so long has shown that the server works: the pauses begin anew."""


class Connected(Protocol):
    """What a connection is to its keeper; `client.Connection` is one."""

    lost: asyncio.Event
    changed: asyncio.Event
    reason: str
    listing: Listing

    async def relist(self) -> None: ...

    async def call(self, tool: str, arguments: dict[str, Any], timeout_s: float) -> ToolOutcome: ...


Connect = Callable[[McpServer], AbstractAsyncContextManager[Connected]]
Pause = Callable[[float], Awaitable[None]]


class Keeper:
    """One server's life.

    Args:
        connect: opens a connection; None takes the SDK, which is imported then and not before.
        pause: waits so many seconds; tests end it by hand.
    """

    def __init__(
        self, server: McpServer, *, clock: Clock, pause: Pause = asyncio.sleep, connect: Connect | None = None
    ) -> None:
        self.server = server
        self.tools: dict[str, Tool] = {}
        self._connect = connect
        self._clock = clock
        self._pause = pause
        self._state: ServerState = "disabled" if server.disabled else "connecting"
        self._error: str | None = None
        self._connection: Connected | None = None
        self._listing = Listing()
        self._tries = 0
        self._closing = False
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect; returns at once."""
        if not self.server.disabled:
            self._task = asyncio.create_task(self._keep(), name=f"mcp-{self.server.prefix}")

    async def aclose(self) -> None:
        """Close the connection and end the server's process."""
        self._closing = True
        self._stop()
        if self._task is None:
            return
        self._task.cancel()
        try:
            await asyncio.gather(self._task, return_exceptions=True)
        finally:
            self._stop()

    def _stop(self) -> None:
        """What cannot be called any more is not offered either."""
        self._connection, self.tools = None, {}
        if self._state != "disabled":
            self._set("stopped")

    async def tried(self) -> None:
        """Wait until the first try to connect is over, well or badly."""
        if self._state != "disabled":
            await self._tried.wait()

    def health(self) -> ServerHealth:
        """How the server does now."""
        return ServerHealth(
            name=self.server.name,
            state=self._state,
            transport=self.server.transport,
            tools_count=len(self.tools),
            error=self._error,
            restarts=max(0, self._tries - 1),
            refused_tools=self._listing.refused,
            missing_tools=self._listing.missing,
        )

    def offered(self) -> list[OfferedTool]:
        """Its tools, while it is ready."""
        approval = self.server.approval
        return [
            OfferedTool(
                name=name,
                server=self.server.name,
                tool=tool,
                approved=approval.covers(tool.name, read_only=tool.read_only),
            )
            for name, tool in self.tools.items()
        ]

    async def call(self, tool: str, arguments: dict[str, Any], timeout_s: float) -> ToolOutcome:
        """Run one of its tools.

        Raises:
            Unavailable: the server is not ready, or was lost in the call.
            DeadlineExceeded: no result in time.
        """
        if self._connection is None:
            raise unavailable([self])
        return await self._connection.call(tool, arguments, timeout_s)

    def in_words(self) -> str:
        """Its name and how it does, for a sentence."""
        reason = f": {self._error}" if self._error else ""
        return f"{self.server.name} {self._state_in_words()}{reason}"

    def _state_in_words(self) -> str:
        if self._state == "failed":
            return "has failed"
        again = self._state == "connecting" and self._error is not None
        return f"is {self._state}" + (" again after it failed" if again else "")

    async def _keep(self) -> None:
        try:
            await self._reconnect_for_ever()
        finally:
            self._stop()

    async def _reconnect_for_ever(self) -> None:
        failures, paused_s = 0, 0.0
        while True:
            self._set("connecting", self._error)
            self._tries += 1
            since = self._clock()
            try:
                reason = await self._serve()
            except asyncio.CancelledError as error:
                if self._is_ended():
                    raise
                reason = _explain(error)  # a transport that ends may cancel who waits in it
            except Exception as error:  # noqa: BLE001  (whatever it is, this server alone is concerned)
                reason = _explain(error)
            if self._is_ended():
                return  # a transport may also turn the cancellation into a failure of its own
            self._connection, self.tools = None, {}
            failures = 0 if self._clock() - since >= STEADY_S else failures
            pause_s = min(FIRST_PAUSE_S * 2**failures, LONGEST_PAUSE_S)
            failures = min(failures + 1, 16)
            level = logging.WARNING
            if reason == self._error:
                # A server that stays away is no news once its pause has stopped to grow.
                level = logging.INFO if pause_s > paused_s else logging.DEBUG
            paused_s = pause_s
            self._set("failed", reason)
            log.log(level, "MCP server %s failed: %s; next try in %g s", self.server.prefix, reason, pause_s)
            await self._pause(pause_s)

    def _is_ended(self) -> bool:
        """Whether this task itself was cancelled: by who closes it, or by an event loop that ends."""
        task = asyncio.current_task()
        return self._closing or (task is not None and task.cancelling() > 0)

    async def _serve(self) -> str:
        """Connect, and stay until the server is lost; returns why it was."""
        connect = self._connect if self._connect is not None else await asyncio.to_thread(_sdk)
        async with connect(self.server) as connection:
            self._connection = connection
            self._take(connection.listing)
            self._set("ready")
            tools = f"{len(self.tools)} tool" + ("" if len(self.tools) == 1 else "s")
            log.info("MCP server %s is ready with %s", self.server.prefix, tools)
            while await _next(connection):
                await connection.relist()
                self._take(connection.listing)
                # A server that says so without end is not asked without end.
                await self._pause(FIRST_PAUSE_S)
        return connection.reason or "it closed the connection"

    def _take(self, listing: Listing) -> None:
        if listing.refused != self._listing.refused:
            for tool in listing.refused:
                log.warning("MCP server %s: a tool is left out: %s", self.server.prefix, tool.reason)
        if listing.missing != self._listing.missing:
            for name in listing.missing:
                shown = (self.server.prefix, name)
                log.warning("MCP server %s has no tool %r, which its entry allows or approves", *shown)
        self._listing = listing
        self.tools = offered_names(self.server.prefix, listing.tools)

    def _set(self, state: ServerState, error: str | None = None) -> None:
        self._state, self._error = state, error
        if state != "connecting":
            self._tried.set()


def unavailable(keepers: Sequence[Keeper]) -> Unavailable:
    """Why no tool of these servers can run now."""
    alone = len(keepers) == 1
    how = "; ".join(keeper.in_words() for keeper in keepers)
    return Unavailable(
        f"The MCP server {how}." if alone else f"No MCP server is ready: {how}.",
        retry_after_s=FIRST_PAUSE_S,
        code="mcp_server_unavailable",
    )


def _sdk() -> Connect:
    """The SDK takes most of a second to import: on a thread, so that nobody waits for it."""
    from vllm_mlx.mcp.client import connect  # noqa: PLC0415  (paid for by who connects to a server)

    return connect


async def _next(connection: Connected) -> bool:
    """Wait until the connection is lost (False), or its server has other tools (True)."""
    waits = [asyncio.ensure_future(event.wait()) for event in (connection.lost, connection.changed)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return not connection.lost.is_set()
    finally:
        for wait in waits:
            wait.cancel()


def _explain(error: BaseException) -> str:
    """A few words; never a trace, an address or a value of the configuration."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error.message if isinstance(error, AppError) else f"it cannot be reached ({type(error).__name__})"

"""All configured servers together: their tools by name, and the one door to running them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, Final

import msgspec

from vllm_mlx.core.bounded import OutOfTime, run_bounded
from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import AppError, InvalidRequest, NotFound, Overloaded, Unavailable
from vllm_mlx.core.naming import listed
from vllm_mlx.mcp.audit import Execution, record
from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.keeper import Connect, Keeper, Pause, unavailable
from vllm_mlx.mcp.processes import kill_all
from vllm_mlx.mcp.tools import SEPARATOR, OfferedTool, ServerHealth, Tool, ToolOutcome, cut

MAX_CALLS_AT_ONCE = 32
"""Of one server; a slow one must not pile up calls."""

FIRST_TRY_S: Final = 5.0
"""How long a request that asks for tools waits for servers that were never tried before: most are there by
then, and one that hangs must not hold up a chat for long."""

CHECK_S: Final = 2.0
"""How long the check of one call's arguments may take; unlike items of a long list take their square."""

_CHECK_THREADS: Final = 2
_CHECKS: Final = "vllm_mlx.mcp.schema"
"""Imported on such a thread with the first call: it brings a library along."""


class McpManager:
    """The servers of one configuration."""

    def __init__(
        self,
        servers: Sequence[McpServer],
        *,
        clock: Clock = system_clock,
        pause: Pause = asyncio.sleep,
        connect: Connect | None = None,
    ) -> None:
        self._clock = clock
        self._keepers = {
            server.prefix: Keeper(server, clock=clock, pause=pause, connect=connect) for server in servers
        }
        self._running = dict.fromkeys(self._keepers, 0)
        self._checks = ThreadPoolExecutor(_CHECK_THREADS, thread_name_prefix="mcp-checks")

    async def start(self) -> None:
        """Begin to connect to every server; waits for none."""
        for keeper in self._keepers.values():
            keeper.start()

    async def aclose(self) -> None:
        """Disconnect from all, and end the processes that were started."""
        try:
            await asyncio.gather(*(keeper.aclose() for keeper in self._keepers.values()))
        finally:
            self._checks.shutdown(wait=False, cancel_futures=True)

    def kill(self) -> None:
        """End all processes of servers at once; a signal's handler may."""
        kill_all()

    def servers(self) -> list[ServerHealth]:
        """How each server does, in the order of the file."""
        return [keeper.health() for keeper in self._keepers.values()]

    def tools(self) -> list[OfferedTool]:
        """The tools of all servers that are ready."""
        return [tool for keeper in self._keepers.values() for tool in keeper.offered()]

    async def settle(self, wanted: Sequence[str] | None) -> None:
        """Wait, for a few seconds at most, until the servers of these tools were tried once; None for all."""
        asked = self._keepers.values() if wanted is None else filter(None, map(self._of, wanted))
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_TRY_S):
                for keeper in asked:
                    await keeper.tried()

    def select(self, wanted: Sequence[str] | None) -> list[OfferedTool]:
        """The tools that a request asks for: by their names or their servers'; None for all that are there.

        Raises:
            InvalidRequest: there is no such server or tool, or the server is disabled.
            Unavailable: the server is not ready; for all tools, none is.
        """
        try:
            return self._selected(wanted)
        except NotFound as error:
            raise InvalidRequest(error.message, param="mcp_tools", code=error.code) from None
        except Unavailable as error:
            error.param = "mcp_tools"
            raise

    def _selected(self, wanted: Sequence[str] | None) -> list[OfferedTool]:
        if wanted is None:
            enabled = [k for k in self._keepers.values() if not k.server.disabled]
            if enabled and all(k.health().state != "ready" for k in enabled):
                raise unavailable(enabled)
            return self.tools()
        chosen: dict[str, OfferedTool] = {}
        for name in wanted:
            chosen.update((tool.name, tool) for tool in self._meant(name))
        return list(chosen.values())

    async def execute(
        self,
        name: str,
        arguments: dict[str, Any],
        *,
        caller: str,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
    ) -> ToolOutcome:
        """Run a tool, and write the audit line, whatever comes of it; a name that is none gets no line.

        Args:
            name: `server__tool`.
            caller: who asked, for the audit.
            timeout_s, max_bytes: tighter limits than the server's own.

        Raises:
            NotFound: no such server or tool, or the server is disabled.
            InvalidRequest: the arguments do not fit the tool's schema.
            Overloaded: too many calls of this server run already.
            Unavailable: the server is not ready, or was lost in the call.
            DeadlineExceeded: no result in time.
        """
        keeper, tool = self._find(name)
        server = keeper.server
        started = self._clock()
        outcome, size = "cancelled", 0
        try:
            limit_s = min(server.timeout_s, timeout_s or server.timeout_s)
            result = await self._call(keeper, tool, arguments, limit_s)
            text, cut_now = (result.text, False) if max_bytes is None else cut(result.text, max_bytes)
            size = len(text.encode())
            outcome = "tool_error" if result.is_error else "ok"
            return msgspec.structs.replace(
                result,
                text=text,
                truncated=result.truncated or cut_now,
                duration_ms=(self._clock() - started) * 1e3,
            )
        except AppError as error:
            outcome = error.code
            raise
        finally:
            record(
                Execution(
                    server=server.name,
                    tool=tool.name,
                    caller=caller,
                    outcome=outcome,
                    duration_ms=(self._clock() - started) * 1e3,
                    result_bytes=size,
                    arguments=arguments,
                    secrets=server.secrets(),
                )
            )

    def status(self) -> dict[str, object]:
        """What `/v1/status` shows."""
        return {
            "servers": {
                health.name: {
                    "state": health.state,
                    "tools": health.tools_count,
                    "restarts": health.restarts,
                    "running": self._running[prefix],
                    "error": health.error,
                }
                for prefix, health in ((prefix, k.health()) for prefix, k in self._keepers.items())
            }
        }

    async def _call(
        self, keeper: Keeper, tool: Tool, arguments: dict[str, Any], timeout_s: float
    ) -> ToolOutcome:
        prefix = keeper.server.prefix
        if self._running[prefix] >= MAX_CALLS_AT_ONCE:
            raise Overloaded(f"Too many calls of the MCP server {keeper.server.name} run already.")
        self._running[prefix] += 1
        try:
            problem = await self._problem(tool, arguments, timeout_s)
            if problem is not None:
                raise InvalidRequest(
                    f"arguments: {problem}", param="arguments", code="invalid_tool_arguments"
                )
            return await keeper.call(tool.name, arguments, timeout_s)
        finally:
            self._running[prefix] -= 1

    async def _problem(self, tool: Tool, arguments: dict[str, Any], timeout_s: float) -> str | None:
        """What is wrong with the arguments. On threads of its own: a check of large ones holds up nothing."""
        loop = asyncio.get_running_loop()
        # The time is not for this: on a busy machine it may take seconds, once.
        checking = await loop.run_in_executor(self._checks, import_module, _CHECKS)
        try:
            async with asyncio.timeout(timeout_s):
                work: partial[str | None] = partial(checking.argument_problem, tool.parameters, arguments)
                return await run_bounded(self._checks, work, CHECK_S)
        except (OutOfTime, TimeoutError):
            return "the tool's schema takes too long to hold against them"

    def _meant(self, name: str) -> list[OfferedTool]:
        """The tools of a server of this name, or the one tool."""
        keeper = self._named(name)
        if keeper is None:
            keeper, _ = self._find(name)
            return [tool for tool in keeper.offered() if tool.name == name]
        if keeper.health().state != "ready":
            raise _missing(keeper)
        return keeper.offered()

    def _find(self, name: str) -> tuple[Keeper, Tool]:
        shown = name if len(name) <= 100 else name[:100] + "..."
        # By the offered name first: of a long one the part before the separator may have been cut.
        offering = (k for k in self._keepers.values() if name in k.tools)
        keeper = next(offering, None) or self._keepers.get(name.partition(SEPARATOR)[0])
        if keeper is None:
            raise NotFound(
                f"There is no MCP server for {shown!r}; tools are named server{SEPARATOR}tool, "
                f"and the servers are: {listed(self._keepers)}.",
                param="tool_name",
                code="mcp_server_not_found",
            )
        tool = keeper.tools.get(name)
        if tool is not None:
            return keeper, tool
        if keeper.health().state != "ready":
            raise _missing(keeper)
        raise NotFound(
            f"There is no tool {shown!r}; those of this server are: {listed(keeper.tools)}.",
            param="tool_name",
            code="mcp_tool_not_found",
        )

    def _of(self, name: str) -> Keeper | None:
        return self._named(name) or self._keepers.get(name.partition(SEPARATOR)[0])

    def _named(self, name: str) -> Keeper | None:
        return next((k for k in self._keepers.values() if name in (k.server.name, k.server.prefix)), None)


def _missing(keeper: Keeper) -> AppError:
    """Why a server has no tools now; one that the configuration leaves out will have none later either."""
    if not keeper.server.disabled:
        return unavailable([keeper])
    return NotFound(
        f"The MCP server {keeper.server.name} is disabled in the configuration.",
        param="tool_name",
        code="mcp_server_disabled",
    )

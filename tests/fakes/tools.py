"""Tools for the tool loop and the routes, without servers: each name answers as a script says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vllm_mlx.core.errors import InvalidRequest, NotFound
from vllm_mlx.mcp.tools import OfferedTool, ServerHealth, Tool, ToolOutcome

Script = Mapping[str, str | Exception | Callable[[dict[str, Any]], str]]


class FakeToolService:
    """Tools of one server, `box`.

    Attributes:
        calls: (name, arguments, caller) of each execution that began.
        limits: (timeout_s, max_bytes) of each.
        settled: what was waited for.
        go: releases tools whose script is `WAIT`.
        waiting: released by each tool that waits.
        cancelled: names of the tools that were cancelled.
    """

    WAIT = "wait"

    def __init__(self, script: Script, *, approved: bool = True) -> None:
        self.script = script
        self.approved = approved
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        self.limits: list[tuple[float | None, int | None]] = []
        self.cancelled: list[str] = []
        self.go = asyncio.Event()
        self.waiting = asyncio.Semaphore(0)
        self.settled: list[Sequence[str] | None] = []
        self.started = False
        self.closed = False

    async def start(self) -> None:
        self.started = True

    async def aclose(self) -> None:
        self.closed = True

    def kill(self) -> None:
        self.closed = True

    def servers(self) -> list[ServerHealth]:
        return [
            ServerHealth(
                name="box",
                state="ready",
                transport="stdio",
                tools_count=len(self.script),
                error=None,
                restarts=0,
                refused_tools=(),
            )
        ]

    def tools(self) -> list[OfferedTool]:
        return [
            OfferedTool(
                name=f"box__{name}",
                server="box",
                tool=Tool(name=name, description=f"Does {name}", parameters={"type": "object"}),
                approved=self.approved,
            )
            for name in self.script
        ]

    async def settle(self, wanted: Sequence[str] | None) -> None:
        self.settled.append(wanted)

    def select(self, wanted: Sequence[str] | None) -> list[OfferedTool]:
        chosen = [tool for tool in self.tools() if wanted is None or {tool.name, tool.server} & set(wanted)]
        if wanted and not chosen:
            raise InvalidRequest("There is no such tool.", param="mcp_tools")
        return chosen

    async def execute(
        self,
        name: str,
        arguments: dict[str, Any],
        *,
        caller: str,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
    ) -> ToolOutcome:
        said = self.script.get(name.removeprefix("box__"))
        if said is None:
            raise NotFound("There is no such tool.", code="mcp_tool_not_found")
        self.calls.append((name, arguments, caller))
        self.limits.append((timeout_s, max_bytes))
        if said == self.WAIT:
            self.waiting.release()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
        if isinstance(said, Exception):
            raise said
        text = said(arguments) if callable(said) else said
        return ToolOutcome(text=text, duration_ms=1.5)

    def status(self) -> dict[str, object]:
        return {"servers": {"box": {"state": "ready"}}}

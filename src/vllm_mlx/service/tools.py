"""The port through which HTTP and the tool loop reach tools; the MCP manager answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from vllm_mlx.mcp.tools import OfferedTool, ServerHealth, ToolOutcome


class ToolService(Protocol):
    """Tools of servers. Every failure is an `AppError`."""

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        ...

    async def aclose(self) -> None:
        """Disconnect, and end what was started."""
        ...

    def kill(self) -> None:
        """End the processes that were started, at once; a signal's handler may."""
        ...

    def servers(self) -> list[ServerHealth]: ...

    def tools(self) -> list[OfferedTool]: ...

    async def settle(self, wanted: Sequence[str] | None) -> None:
        """Wait, for a few seconds at most, for servers of these tools that were never tried; None for all."""
        ...

    def select(self, wanted: Sequence[str] | None) -> list[OfferedTool]:
        """The tools by these names, or of servers by these names; None for all that are there.

        Raises:
            InvalidRequest: no such server or tool.
            Unavailable: the server is not ready; for all tools, none is.
        """
        ...

    async def execute(
        self,
        name: str,
        arguments: dict[str, Any],
        *,
        caller: str,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
    ) -> ToolOutcome:
        """Run a tool; cancelling stops it.

        Raises:
            AppError: it did not run to its end. That the tool itself failed is a result.
        """
        ...

    def status(self) -> dict[str, object]: ...

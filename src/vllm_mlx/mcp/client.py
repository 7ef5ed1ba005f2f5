"""One live connection to a server, over the official SDK: open it, list its tools, call them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mcp import ClientSession, MCPError
from mcp import types as wire
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.types import methods
from pydantic import ValidationError

from vllm_mlx import __version__
from vllm_mlx.core.errors import DeadlineExceeded, Unavailable
from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.content import outcome
from vllm_mlx.mcp.http import http_streams
from vllm_mlx.mcp.policy import server_environment
from vllm_mlx.mcp.redaction import hide
from vllm_mlx.mcp.schema import schema_problem
from vllm_mlx.mcp.stdio import stdio_streams
from vllm_mlx.mcp.tools import Listing, RefusedTool, Tool, ToolOutcome

MAX_TOOLS = 512
MAX_DESCRIPTION_CHARS = 8192
MAX_NAME_CHARS = 256
_MAX_PAGES = 64
_MAX_SHOWN = 64
_MAX_ERROR_CHARS = 1000

for _name in ("mcp", "httpx2", "httpcore2"):
    # They would log addresses, messages and traces; what concerns an operator reaches us as an error.
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Connection:
    """A server that has answered the handshake. Calls may run side by side.

    Attributes:
        lost: set once nothing more can come of it.
        reason: why, in words for an operator.
        changed: the server said that it has other tools now.
    """

    def __init__(self, server: McpServer) -> None:
        self.lost = asyncio.Event()
        self.reason = ""
        self.changed = asyncio.Event()
        self.listing = Listing()
        self._server = server
        self._session: ClientSession | None = None
        self._dispatcher: _Dispatcher | None = None
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def relist(self) -> None:
        """Ask for the tools again.

        Raises:
            Unavailable: it does not answer, or with no list.
        """
        self.changed.clear()
        try:
            async with asyncio.timeout(self._server.connect_timeout_s):
                self.listing = await self._list()
        except TimeoutError:
            raise Unavailable("it does not list its tools in time") from None
        except (MCPError, ValidationError):
            raise Unavailable("it does not list its tools") from None

    async def call(self, tool: str, arguments: dict[str, Any], timeout_s: float) -> ToolOutcome:
        """Run a tool; cancelling the call tells the server to stop.

        Raises:
            DeadlineExceeded: no result in time.
            Unavailable: the connection broke.
        """
        assert self._session is not None
        if self.lost.is_set():
            raise self._broken()
        calling = asyncio.ensure_future(self._session.call_tool(tool, arguments))
        losing = asyncio.ensure_future(self.lost.wait())
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait({calling, losing}, return_when=asyncio.FIRST_COMPLETED)
                if not calling.done():
                    raise self._broken()
                return self._result(calling)
        except TimeoutError:
            raise DeadlineExceeded(f"The tool brought no result within {timeout_s:g} s.") from None
        finally:
            losing.cancel()
            self._abandon(calling)

    def _abandon(self, calling: asyncio.Future[Any]) -> None:
        """Have the server told to stop. It may not read: nobody waits until it has, but for who closes."""
        if calling.cancel():
            self._abandoned.add(calling)
            calling.add_done_callback(self._forget)

    def _forget(self, calling: asyncio.Future[Any]) -> None:
        self._abandoned.discard(calling)
        if not calling.cancelled():
            calling.exception()  # heard of here: asyncio would write it into the log, secrets and all

    async def aclose(self) -> None:
        """Wait for what still runs, once the streams are closed under it."""
        await asyncio.gather(*self._abandoned, return_exceptions=True)

    def _result(self, calling: asyncio.Future[wire.CallToolResult]) -> ToolOutcome:
        try:
            return outcome(calling.result(), self._server.max_result_bytes)
        except MCPError as error:
            if self.lost.is_set() or error.code == wire.CONNECTION_CLOSED:
                self.end("it closed the connection")
                raise self._broken() from None
            return ToolOutcome(
                text=f"The server refused the call: {error.message[:_MAX_ERROR_CHARS]}", is_error=True
            )
        except ValidationError:
            return ToolOutcome(text="The server's answer is no tool result.", is_error=True)
        except RuntimeError:
            # The SDK's word for a server that asks back, which nobody is here to answer.
            return ToolOutcome(
                text="The server asks for input, which this client does not give.", is_error=True
            )

    def _broken(self) -> Unavailable:
        return Unavailable(
            f"The connection to the MCP server broke in the call: {self.reason}.",
            code="mcp_server_unavailable",
        )

    def end(self, reason: str) -> None:
        """Nothing more can come; the first reason counts."""
        self.reason = self.reason or reason
        self.lost.set()

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect and list the tools; `stack` closes what was opened."""
        if self._server.transport == "stdio":
            environment = server_environment(os.environ, self._server.env)
            streams: Any = stdio_streams(self._server, environment, self.end)
        else:
            streams, http = http_streams(self._server, self.end)
            if http is not None:
                await stack.enter_async_context(http)
        read, write = await stack.enter_async_context(streams)
        self._dispatcher = _Dispatcher(read, write, self.end)
        self._session = await stack.enter_async_context(
            ClientSession(
                dispatcher=self._dispatcher,
                message_handler=self._on_message,
                client_info=wire.Implementation(name="vllm-mlx", version=__version__),
            )
        )
        try:
            await self._session.initialize()
        except MCPError as error:
            if error.code != wire.UNSUPPORTED_PROTOCOL_VERSION:
                raise
            await self._session.discover()  # it speaks no version that begins with a handshake
        self._dispatcher.version = self._session.protocol_version or self._dispatcher.version
        self.listing = await self._list()

    async def _list(self) -> Listing:
        assert self._session is not None
        assert self._dispatcher is not None
        self._dispatcher.refused.clear()
        found: dict[str, Tool] = {}
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            try:
                page = await self._session.list_tools(params=wire.PaginatedRequestParams(cursor=cursor))
            except MCPError as error:
                if error.code == wire.METHOD_NOT_FOUND:
                    break  # a server without tools
                raise
            for item in page.tools:
                if len(found) < MAX_TOOLS:
                    found.setdefault(item.name, _tool(item))
            cursor = page.next_cursor
            if cursor is None:
                break
        allowed = self._server.allowed_tools
        kept = tuple(tool for tool in found.values() if allowed is None or tool.name in allowed)
        refused = tuple(self._dispatcher.refused[:MAX_TOOLS])
        # A refused tool is there, and told with its reason; its name is shortened.
        shortened = {tool.name for tool in refused}
        missing = (name for name in self._server.tools_named() if name not in found)
        return Listing(kept, refused, tuple(name for name in missing if name[:_MAX_SHOWN] not in shortened))

    async def _on_message(self, message: Any) -> None:
        if isinstance(message, wire.ToolListChangedNotification):
            self.changed.set()


@asynccontextmanager
async def connect(server: McpServer) -> AsyncIterator[Connection]:
    """A connection for as long as the block lasts.

    Raises:
        Unavailable: the server cannot be started or reached, or does not answer in time.
        ExceptionGroup: the SDK's transport failed.
    """
    connection = Connection(server)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connection.aclose)
        try:
            async with asyncio.timeout(server.connect_timeout_s):
                await connection.open(stack)
        except TimeoutError:
            raise Unavailable(f"it did not answer within {server.connect_timeout_s:g} s") from None
        except MCPError as error:
            reason = connection.reason or f"it refused: {hide(error.message, server.secrets(), _MAX_SHOWN)}"
            raise Unavailable(reason) from None
        except (ValidationError, RuntimeError):
            raise Unavailable("its answers are not MCP's") from None
        try:
            yield connection
        finally:
            connection.end("it was closed")


class _Dispatcher(JSONRPCDispatcher[Any]):
    """The SDK's dispatcher; it tells its end, and leaves out tools that would spoil the whole list."""

    def __init__(self, read: Any, write: Any, on_end: Callable[[str], None]) -> None:
        super().__init__(read, write)
        self._tell = on_end
        self.version = "2025-11-25"
        self.refused: list[RefusedTool] = []

    async def run(self, *arguments: Any, **options: Any) -> None:
        try:
            await super().run(*arguments, **options)
        finally:
            self._tell("it closed the connection")

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: Any = None, **options: Any
    ) -> dict[str, Any]:
        raw = await super().send_raw_request(method, params, opts, **options)
        if method == "tools/list" and isinstance(raw.get("tools"), list):
            raw = {**raw, "tools": [tool for tool in raw["tools"] if self._is_usable(raw, tool)]}
        return raw

    def _is_usable(self, page: dict[str, Any], tool: Any) -> bool:
        problem = "it is no object"
        if isinstance(tool, dict):
            # The SDK would check results against it, on the event loop; the model can read any.
            tool.pop("outputSchema", None)
            problem = self._problem(page, tool) or ""
        if problem:
            name = tool.get("name") if isinstance(tool, dict) else None
            self.refused.append(RefusedTool(name[:_MAX_SHOWN] if isinstance(name, str) else "?", problem))
        return not problem

    def _problem(self, page: dict[str, Any], tool: dict[str, Any]) -> str | None:
        try:
            methods.validate_server_result("tools/list", self.version, {**page, "tools": [tool]})
            wire.Tool.model_validate(tool, by_name=False)
        except (ValidationError, RecursionError):
            return "it is no tool as MCP has it"
        if not tool["name"].strip() or len(tool["name"]) > MAX_NAME_CHARS:
            return f"its name is empty or longer than {MAX_NAME_CHARS} characters"
        if len(tool.get("description") or "") > MAX_DESCRIPTION_CHARS:
            return f"its description is longer than {MAX_DESCRIPTION_CHARS} characters"
        return schema_problem(tool["inputSchema"])


def _tool(item: wire.Tool) -> Tool:
    return Tool(
        name=item.name,
        description=item.description or "",
        parameters=item.input_schema,
        read_only=bool(item.annotations and item.annotations.read_only_hint),
    )

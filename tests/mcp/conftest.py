"""Servers of our own to connect to: processes, ports, and connections that are only played."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.manager import McpManager

FAKES = Path(__file__).parents[1] / "fakes"
LIMIT_S = 60.0
"""Nothing here takes so long."""

Managing = Callable[..., AbstractAsyncContextManager[McpManager]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def rogue(way: str, **settings: Any) -> McpServer:
    """A server that misbehaves in one way."""
    return stdio(way.replace("-", "_"), str(FAKES / "mcp_rogue.py"), way, **settings)


def sdk_server(**settings: Any) -> McpServer:
    """The well-behaved server, over stdio."""
    return stdio("fake", str(FAKES / "mcp_server.py"), **settings)


def stdio(name: str, *words: str, **settings: Any) -> McpServer:
    limits = {"connect_timeout_s": LIMIT_S, "timeout_s": LIMIT_S} | settings
    return McpServer(name=name, prefix=name, transport="stdio", command=(sys.executable, *words), **limits)


async def settled(manager: McpManager, *states: str) -> None:
    """Wait until every server is in one of these states; bounded."""
    await until(lambda: all(server.state in (states or ("ready",)) for server in manager.servers()))


async def until(holds: Callable[[], bool]) -> None:
    """Ask again and again, for a bounded time: what is awaited happens in another process."""
    async with asyncio.timeout(LIMIT_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def managing(*servers: McpServer, **options: Any) -> AsyncIterator[McpManager]:
    """A manager that has started, and is closed with the block."""
    manager = McpManager(servers, **options)
    await manager.start()
    try:
        yield manager
    finally:
        await manager.aclose()


class Listener:
    """The well-behaved server on a loopback port; it may die, and come back on the same port."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.port = 0
        self.start()

    @property
    def server(self) -> McpServer:
        path = {"http": "/mcp", "sse": "/sse"}[self.kind]
        return McpServer(
            name=self.kind,
            prefix=self.kind,
            transport=self.kind,  # type: ignore[arg-type]
            url=f"http://127.0.0.1:{self.port}{path}",
            connect_timeout_s=LIMIT_S,
            timeout_s=LIMIT_S,
        )

    def start(self) -> None:
        words = [sys.executable, str(FAKES / "mcp_server.py"), self.kind, str(self.port)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[1])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(params=["http", "sse"])
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    listening = Listener(request.param)
    yield listening
    listening.end()

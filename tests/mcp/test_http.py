"""Servers behind an address: streamable HTTP and SSE on loopback, and hosts that try to lead us elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from tests.mcp.conftest import LIMIT_S, Listener, managing, settled, until

from vllm_mlx.core.errors import Unavailable
from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.http import GuardedTransport

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(64)]


async def test_a_server_runs_tools_dies_in_mid_call_and_comes_back(
    listener: Listener, tmp_path: Path
) -> None:
    kind, marker = listener.kind, tmp_path / "marker"
    tried = asyncio.Event()
    again = asyncio.Semaphore(0)

    async def pause(_: float) -> None:
        tried.set()
        await again.acquire()

    async with managing(listener.server, pause=pause) as manager:
        await settled(manager)
        assert (await manager.execute(f"{kind}__add", {"a": 2, "b": 3}, caller="route")).text == "5"
        assert (await manager.execute(f"{kind}__fail", {}, caller="route")).is_error
        waiting = asyncio.create_task(manager.execute(f"{kind}__wait", {"marker": str(marker)}, caller="x"))
        await until(lambda: marker.exists())
        waiting.cancel()
        await until(lambda: "cancelled" in marker.read_text())
        with pytest.raises(Unavailable, match="broke in the call"):
            await manager.execute(f"{kind}__die", {}, caller="route")
        await asyncio.wait_for(tried.wait(), LIMIT_S)
        assert manager.servers()[0].state == "failed"
        listener.end()
        listener.start()
        again.release()
        await settled(manager)
        assert (await manager.execute(f"{kind}__add", {"a": 2, "b": 3}, caller="route")).text == "5"


class _Host(BaseHTTPRequestHandler):
    """Answers every request as its server's `answer` says, and remembers that it was asked."""

    def handle_any(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        status, headers, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def host(status: int, headers: dict[str, str], body: bytes = b"") -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Host)
    server.answer, server.asked = (status, headers, body), []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.requirement(80)
@pytest.mark.parametrize("kind", ["http", "sse"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_to_another_host_is_not_followed(kind: str, status: int) -> None:
    with host(200, {}) as other:
        target = f"http://127.0.0.1:{other.server_port}/mcp"
        with host(status, {"location": target}) as first:
            assert "refused" in await failure(kind, first) or "reached" in await failure(kind, first)
        assert other.asked == []  # type: ignore[attr-defined]


@pytest.mark.requirement(80)
@pytest.mark.parametrize("location", ["file:/etc/passwd", "gopher://x/", "//elsewhere.test/"])
async def test_a_redirect_out_of_http_is_not_followed(location: str) -> None:
    with host(307, {"location": location}) as first:
        await failure("http", first)


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/html"}, b"<html>"),
        ({"content-type": "application/json"}, b"{"),
        ({"content-type": "application/json"}, b"x" * (17 * 1024 * 1024)),
        ({"content-type": "application/json", "content-encoding": "gzip"}, b"x"),
        ({"content-type": "text/event-stream"}, b"data: " + b"x" * (17 * 1024 * 1024) + b"\n\n"),
        ({"content-type": "text/event-stream"}, b"event: endpoint\ndata: http://elsewhere.test/x\n\n"),
        ({"content-type": "text/event-stream"}, b""),
    ],
    ids=["html", "no-json", "huge-json", "packed", "huge-event", "foreign-endpoint", "empty-stream"],
)
@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_host_that_speaks_something_else_fails(
    kind: str, headers: dict[str, str], body: bytes
) -> None:
    with host(200, headers, body) as server:
        # The SDK waits in vain for an endpoint after it has refused a foreign one.
        await failure(kind, server, 0.5 if b"endpoint" in body else LIMIT_S)


async def test_nobody_at_the_address_fails() -> None:
    with host(200, {}) as server:
        pass
    assert "cannot be reached" in await failure("http", server)


async def failure(kind: str, server: ThreadingHTTPServer, limit_s: float = LIMIT_S) -> str:
    """Why a server at that address fails."""

    async def for_ever(_: float) -> None:
        await asyncio.Event().wait()

    url = f"http://127.0.0.1:{server.server_port}/mcp"
    one = McpServer(name="x", prefix="x", transport=kind, url=url, connect_timeout_s=limit_s)  # type: ignore[arg-type]
    async with managing(one, pause=for_ever) as manager:
        await settled(manager, "failed")
        error = manager.servers()[0].error
        assert error
        assert "Traceback" not in error
        return error


@pytest.mark.requirement(80)
async def test_the_guard_stays_with_one_origin_and_notices_a_lost_session() -> None:
    told: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404 if request.url.path == "/gone" else 200)

    guard = GuardedTransport(httpx2.MockTransport(answer), "http://x.test:8080/mcp", told.append)
    async with httpx2.AsyncClient(transport=guard) as client:
        assert (await client.get("http://x.test:8080/other")).status_code == 200
        for elsewhere in ("https://x.test:8080/mcp", "http://x.test/mcp", "http://y.test:8080/mcp"):
            with pytest.raises(httpx2.TransportError, match="leave the configured origin"):
                await client.get(elsewhere)
        await client.get("http://x.test:8080/gone")
        assert told == []
        await client.get("http://x.test:8080/gone", headers={"mcp-session-id": "s"})
        assert told == ["it ended the session"]

"""A server behind an address: streamable HTTP, or the older SSE; bounded, and never led anywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from vllm_mlx.mcp.config import McpServer

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_TIMEOUT = httpx2.Timeout(30.0, read=None)
"""Reading has no limit here: a stream may be silent for hours, and each call has its own."""


def http_streams(
    server: McpServer, on_end: Callable[[str], None]
) -> tuple[AbstractAsyncContextManager[Any], httpx2.AsyncClient | None]:
    """The transport of a server, and the client to close after it where the transport does not do so.

    The SDK follows redirects within the address's origin alone; the guard below sees to it as well.

    Args:
        on_end: told in a few words why the server is lost.
    """

    def client(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            # Answers are counted as they come in, so they must not be packed.
            headers={**server.headers, "accept-encoding": "identity"},
            timeout=_TIMEOUT,
            # Neither proxies nor .netrc: only what the file says goes to the server.
            trust_env=False,
            transport=GuardedTransport(httpx2.AsyncHTTPTransport(trust_env=False), server.url, on_end),
        )

    if server.transport == "sse":
        return sse_client(server.url, httpx_client_factory=client), None
    http = client()
    return streamable_http_client(server.url, http_client=http, max_sse_event_size=MAX_MESSAGE_BYTES), http


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one origin alone, bounds answers, and notices when the server is lost.

    Args:
        url: the configured address; its origin is the only one.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, url: str, on_end: Callable[[str], None]) -> None:
        self._inner = inner
        self._origin = _origin(httpx2.URL(url))
        self._on_end = on_end

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises:
            httpx2.TransportError: the server cannot be reached, or the request would go elsewhere.
        """
        if _origin(request.url) != self._origin:
            raise httpx2.UnsupportedProtocol("the request would leave the configured origin")
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TransportError:
            self._on_end("it cannot be reached")
            raise
        if response.status_code == 404 and "mcp-session-id" in request.headers:
            self._on_end("it ended the session")
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.DecodingError("the answer is packed, which was not asked for")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            # The events of a stream are bounded each; what is no stream is bounded as a whole.
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Bounded(response.stream)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for piece in self._stream:
            seen += len(piece)
            if seen > MAX_MESSAGE_BYTES:
                raise httpx2.ReadError(f"the answer has more than {MAX_MESSAGE_BYTES} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port

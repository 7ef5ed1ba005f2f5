"""What headers say of a request that is too large or packed, before anything reads it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vllm_mlx.core.errors import InvalidRequest, PayloadTooLarge
from vllm_mlx.server.errors import ErrorResponses
from vllm_mlx.server.middleware import HttpMiddleware

MAX_HEADER_BYTES = 32 * 1024
"""All header names and values together. uvicorn's h11 gives up at 64 KiB; its other parsers have no limit."""


class RequestLimits(HttpMiddleware):
    """ASGI middleware that refuses a request whose headers or body are over the cap, or whose body is packed.

    A `Content-Length` over the cap is refused unread. A body without a length, or with one that lies, is
    counted while it arrives, and the reader gets `PayloadTooLarge`. A compressed body is refused: how large
    it is would be known only when it is too late.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, errors: ErrorResponses) -> None:
        super().__init__(app)
        self._max_body_bytes = max_body_bytes
        self._errors = errors

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            error = PayloadTooLarge(
                f"The headers are over {MAX_HEADER_BYTES} bytes.", code="headers_too_large"
            )
            await self._errors.refuse(error, scope, receive, send, status=431)
            return
        length = next((value for name, value in headers if name == b"content-length"), None)
        if length is not None and not length.isdigit():
            wrong = InvalidRequest("Content-Length is not a number.")
            await self._errors.refuse(wrong, scope, receive, send)
            return
        if length is not None and (len(length) > 18 or int(length) > self._max_body_bytes):
            await self._errors.refuse(self._too_large(), scope, receive, send)
            return
        encodings = [value for name, value in headers if name == b"content-encoding"]
        if any(value.strip().lower() not in (b"", b"identity") for value in encodings):
            packed = InvalidRequest(
                "Content-Encoding is not supported: send the body as it is.",
                code="unsupported_content_encoding",
            )
            await self._errors.refuse(packed, scope, receive, send, status=415)
            return
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_body_bytes:
                    raise self._too_large()
            return message

        return counted

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The request body is over {self._max_body_bytes} bytes.")

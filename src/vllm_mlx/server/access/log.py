"""One line a request, with an id that the client sees too; never what was asked, by whom, with which key."""

from __future__ import annotations

import logging
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.server.access.keys import is_public
from vllm_mlx.server.errors import ErrorResponses, internal_error
from vllm_mlx.server.middleware import HttpMiddleware
from vllm_mlx.server.request_ids import request_id

log = logging.getLogger("vllm_mlx.access")

_OPENAI, _ANTHROPIC = b"x-request-id", b"request-id"
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_CLIENT_LEFT = 499
"""nginx's number for a client that left before it was answered."""
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

Headers = list[tuple[bytes, bytes]]


class RequestLog(HttpMiddleware):
    """ASGI middleware around everything else: gives each answer its ids, answers faults, writes the line.

    `request-id` is ours, which the engine and Anthropic's errors name too; so is `x-request-id`, except that
    a client which sent one gets its own back. It is only repeated: inside the server requests have ids that
    nobody can make equal.

    Args:
        enabled: write the lines; the ids come anyway.
    """

    def __init__(
        self, app: ASGIApp, errors: ErrorResponses, *, enabled: bool = True, clock: Clock = system_clock
    ) -> None:
        super().__init__(app)
        self._errors = errors
        self._enabled = enabled
        self._clock = clock

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, and tell of it when its answer has ended."""
        started_at = self._clock()
        status, shown = _CLIENT_LEFT, b""

        async def tagged(message: Message) -> None:
            nonlocal status, shown
            if message["type"] == "http.response.start":
                status = message["status"]
                headers, shown = _tagged(list(message.get("headers", ())), scope)
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, tagged)
        except Exception:
            if not shown:
                await self._errors.response(scope, internal_error(), 500)(scope, receive, tagged)
            raise  # the web server logs it
        finally:
            if self._enabled:
                self._write(scope, status, shown, self._clock() - started_at)

    def _write(self, scope: Scope, status: int, shown: bytes, took_s: float) -> None:
        # Pollers ask every few seconds, and a good answer is no news.
        level = logging.DEBUG if is_public(scope) and status == 200 else logging.INFO
        method = scope["method"] if scope["method"] in _METHODS else "?"
        identity = shown.decode("ascii") or request_id(scope)
        log.log(level, "%s %s %d %.1f ms %s", method, _template(scope), status, took_s * 1000, identity)


def _template(scope: Scope) -> str:
    """The route as we wrote it: a path from outside may hold a secret, or a line break."""
    return str(getattr(scope.get("route"), "path", "-"))


def _tagged(headers: Headers, scope: Scope) -> tuple[Headers, bytes]:
    """The headers with both names of the id, and the id that the client sees."""
    own = request_id(scope).encode()
    theirs = next((value for name, value in scope["headers"] if name == _OPENAI), b"")
    shown = theirs if _SANE_ID.fullmatch(theirs) else own
    return [*headers, (_ANTHROPIC, own), (_OPENAI, shown)], shown

"""From failures to HTTP answers: the status of each error, and the dialect its body is written in."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from vllm_mlx.core.errors import (
    AppError,
    AuthenticationFailed,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    ModelLoadError,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    Unavailable,
)
from vllm_mlx.core.naming import shorten

logger = logging.getLogger(__name__)

ErrorShape = Callable[[AppError, int, Scope], Response]
"""A dialect's answer to a failed request, of the error, its HTTP status, and the request's scope."""

_STATUS: dict[type[AppError], int] = {
    InvalidRequest: 400,
    AuthenticationFailed: 401,
    PermissionDenied: 403,
    NotFound: 404,
    PayloadTooLarge: 413,
    Overloaded: 429,
    Unavailable: 503,
    ModelLoadError: 503,
    DeadlineExceeded: 504,
    AppError: 500,
}

_SLASHES = re.compile("/+")
_DRAINED_BYTES = 1024 * 1024
MESSAGE_CHARS = 500
"""No error says more, whatever a message repeats."""


def status_of(error: AppError) -> int:
    """The HTTP status of an error; that of the nearest class the table knows."""
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)


def presentable(error: AppError) -> AppError:
    """The error as a caller may see it: a fault of ours goes to the log, and the caller gets fixed text."""
    if status_of(error) != 500:
        return error
    logger.error("a request met an internal error", exc_info=error)
    return internal_error()


def internal_error() -> InternalError:
    """The fixed text for faults of ours."""
    return InternalError("The server met an internal error; its log has the details.")


class ErrorResponses:
    """Writes every error in the dialect of the path it happened on.

    Args:
        default: the dialect of paths that no prefix claims.
        by_prefix: path prefix to dialect, the longest prefix wins.
    """

    def __init__(self, default: ErrorShape, by_prefix: Mapping[str, ErrorShape] | None = None) -> None:
        self._default = default
        self._by_prefix = sorted((by_prefix or {}).items(), key=lambda item: -len(item[0]))

    def response(self, scope: Scope, error: AppError, status: int | None = None) -> Response:
        """The answer to a failed request; `status` where the error's class does not say it."""
        error = presentable(error) if status is None else error
        status = status_of(error) if status is None else status
        path = scope["path"]
        shape = next((shape for prefix, shape in self._by_prefix if path.startswith(prefix)), self._default)
        response = shape(error, status, scope)
        if error.retry_after_s is not None:
            response.headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
        return response

    async def refuse(
        self,
        error: AppError,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer in a route's stead, without reading the body.

        A small body is drained by the web server, so that the client, who may still be sending it, reads the
        answer; for a large one, or one without a length, the connection is not worth it.
        """
        response = self.response(scope, error, status)
        response.headers.update(headers or {})
        if _long_body_follows(scope):
            response.headers["connection"] = "close"
        await response(scope, receive, send)

    def install(self, app: FastAPI) -> None:
        """Answer for the errors that leave a route of `app`, and for routes it does not have.

        Faults are left to the middleware around the application, which sees them wherever they happen.
        """

        async def on_app_error(request: Request, error: Exception) -> Response:
            assert isinstance(error, AppError)
            return self.response(request.scope, error)

        async def on_http_error(request: Request, error: Exception) -> Response:
            assert isinstance(error, HTTPException)
            response = self.response(request.scope, _of_http(request, error), error.status_code)
            response.headers.update(error.headers or {})
            return response

        async def on_wrong_query(request: Request, error: Exception) -> Response:
            assert isinstance(error, RequestValidationError)
            return self.response(request.scope, _of_query(error))

        app.add_exception_handler(AppError, on_app_error)
        app.add_exception_handler(HTTPException, on_http_error)
        app.add_exception_handler(RequestValidationError, on_wrong_query)


def _long_body_follows(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    short = length.isdigit() and len(length) < 10 and int(length) <= _DRAINED_BYTES
    return b"transfer-encoding" in headers or not short


def _of_http(request: Request, error: HTTPException) -> AppError:
    route = f"{shorten(request.method)} {shorten(request.url.path)}"
    if error.status_code == 404:
        return NotFound(f"There is no route {route}{_hint(request)}.", code="route_not_found")
    if error.status_code == 405:
        return InvalidRequest(f"The method is not allowed: {route}.", code="method_not_allowed")
    return InvalidRequest("The request cannot be served.", code="http_error")


def _hint(request: Request) -> str:
    """The end of the sentence about a path that no route has."""
    if _SLASHES.sub("/", request.scope["path"]).rstrip("/") == "/v1":
        return ", but there is /v1/models: this path is the base URL, and the routes stand below it"
    meant = _meant(request)
    return f", but there is {meant}: look at the base URL that the client was given" if meant else ""


def _meant(request: Request) -> str | None:
    """The route that a client with a wrong base URL was after.

    A slash stands twice or at the end, and /v1 is missing or stands twice.
    """
    asked = request.scope["path"]
    path = _SLASHES.sub("/", asked).rstrip("/")
    for candidate in (path, f"/v1{path}", path.removeprefix("/v1")):
        scope = dict(request.scope, path=candidate)
        if candidate != asked and any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            return shorten(candidate)
    return None


def _of_query(error: RequestValidationError) -> InvalidRequest:
    """Of a query or path parameter; bodies are read by `server/body.py`."""
    first = error.errors()[0]
    name, reason = shorten(str(first["loc"][-1])), first["msg"].removeprefix("Input ")
    return InvalidRequest(f"{name} {reason}", param=name)

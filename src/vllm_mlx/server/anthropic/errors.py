"""Anthropic's error object."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Scope

from vllm_mlx.core.errors import AppError, ContextOverflow
from vllm_mlx.core.naming import shorten
from vllm_mlx.server import sse
from vllm_mlx.server.errors import MESSAGE_CHARS, status_of
from vllm_mlx.server.request_ids import request_id

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    431: "request_too_large",
    503: "overloaded_error",  # the one type that says "not now"; clients try again
    504: "timeout_error",
}

_TOO_LONG = "prompt is too long: "
"""Anthropic's words: agents look for them, and shorten the conversation."""

NO_THREADS = "thread_unsupported_request"
"""Anthropic's code for a conversation that the server cannot hold. The tool runner of its package asks for
one, and at this code goes on by sending all turns itself."""


class AnthropicErrorDetails(BaseModel):
    """What a client may go on from."""

    error_code: str


class AnthropicErrorFields(BaseModel):
    """What went wrong."""

    type: str
    message: str
    details: AnthropicErrorDetails | None = None


class AnthropicError(BaseModel):
    """For the OpenAPI page: the body of a failed request."""

    type: Literal["error"]
    error: AnthropicErrorFields
    request_id: str


def error_response(error: AppError, status: int, scope: Scope) -> Response:
    """The answer to a request that failed."""
    return Response(_body(error, status, request_id(scope)), status, media_type="application/json")


def error_frame(error: AppError, identity: str) -> bytes:
    """The error as an event, for a stream that has begun; `identity` is the request's id."""
    return sse.event(b"error", _body(error, status_of(error), identity))


def _body(error: AppError, status: int, identity: str) -> bytes:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    message = _TOO_LONG + error.message if isinstance(error, ContextOverflow) else error.message
    fields: dict[str, Any] = {"type": kind, "message": shorten(message, MESSAGE_CHARS)}
    if error.code == NO_THREADS:
        fields["details"] = {"error_code": NO_THREADS}
    return msgspec.json.encode({"type": "error", "error": fields, "request_id": identity})

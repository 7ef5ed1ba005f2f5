"""OpenAI's error object."""

from __future__ import annotations

import msgspec
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Scope

from vllm_mlx.core.errors import AppError
from vllm_mlx.core.naming import shorten
from vllm_mlx.server import sse
from vllm_mlx.server.errors import MESSAGE_CHARS, status_of
from vllm_mlx.server.replies import StreamStyle

# 401 and 404 are `invalid_request_error` at OpenAI, too; what is wrong is in `code`.
_TYPES = {
    403: "permission_error",
    429: "rate_limit_error",
}


class OpenAIErrorFields(BaseModel):
    """What went wrong; `param` is the request field at fault, if one is."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """For the OpenAPI page: the body of a failed request."""

    error: OpenAIErrorFields


def error_body(error: AppError, status: int) -> bytes:
    """`{"error": {...}}` as JSON."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    message = shorten(error.message, MESSAGE_CHARS)
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}
    )


def error_response(error: AppError, status: int, scope: Scope) -> Response:
    """The answer to a request that failed."""
    return Response(error_body(error, status), status, media_type="application/json")


def error_frame(error: AppError) -> bytes:
    """The error as an event, for a stream that has begun."""
    return sse.frame(error_body(error, status_of(error)))


STREAM_STYLE = StreamStyle(error_frame)
"""`[DONE]` ends every stream; comments keep it alive."""

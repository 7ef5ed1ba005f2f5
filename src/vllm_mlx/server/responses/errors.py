"""Errors of the service under the names that this API has for their fields."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from vllm_mlx.core.errors import AppError
from vllm_mlx.server.errors import ErrorShape

_NAMES = {"messages": "input", "max_tokens": "max_output_tokens"}


def with_own_names(shape: ErrorShape) -> ErrorShape:
    """The same shape, with the field at fault as this API's clients know it."""

    def renamed(error: AppError, status: int, scope: Scope) -> Response:
        error.param = _NAMES.get(error.param, error.param) if error.param is not None else None
        return shape(error, status, scope)

    return renamed

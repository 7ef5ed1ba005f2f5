"""The id of an HTTP request: for its answer, its errors and the log."""

from __future__ import annotations

from starlette.types import Scope

from vllm_mlx.core.chance import fresh_hex

_KEY = "vllm_mlx.request_id"


def request_id(scope: Scope) -> str:
    """The request's id, made when first asked for."""
    if _KEY not in scope:
        scope[_KEY] = f"req_{fresh_hex()}"
    return str(scope[_KEY])

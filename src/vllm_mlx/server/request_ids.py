"""The id of an HTTP request: for its answer, its errors and the log."""

from __future__ import annotations

import uuid

from starlette.types import Scope

_KEY = "vllm_mlx.request_id"


def request_id(scope: Scope) -> str:
    """The request's id, made when first asked for."""
    if _KEY not in scope:
        scope[_KEY] = f"req_{uuid.uuid4().hex}"
    return str(scope[_KEY])

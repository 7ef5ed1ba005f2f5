"""Who asks: what a request may see of what earlier requests have left is its own caller's."""

from __future__ import annotations

from starlette.types import Scope

CALLER = "vllm_mlx.caller"
"""Where a layer that tells callers apart notes in a request's scope whose it is: a text of theirs alone."""


def owner(scope: Scope) -> str:
    """Whose a request is, and what it leaves; empty where nobody tells callers apart."""
    return str(scope.get(CALLER, ""))

"""The reference of routes: one row a route, from the application's own OpenAPI description."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from vllm_mlx.config import ServerConfig

HEAD = """# Routes

What the server answers to. Made from the application's OpenAPI description by `make docs`; a running server
serves the description itself at `/openapi.json`.
"""
NONE = "\nThis version serves no route.\n"
METHODS = ("get", "post", "put", "patch", "delete")


def page() -> str:
    """The page; it says so where there is no application yet."""
    if find_spec("vllm_mlx.server.app") is None:
        return HEAD + NONE
    from vllm_mlx.server.app import create_app

    # Nothing is served here, so the app gets no service; its routes are all that is asked for.
    return render(create_app(None, ServerConfig()).openapi())


def render(openapi: dict[str, Any]) -> str:
    """The page for an OpenAPI description."""
    rows = [
        f"| {method.upper()} | `{path}` | {_meaning(methods[method])} |"
        for path, methods in sorted(openapi.get("paths", {}).items())
        for method in METHODS
        if method in methods
    ]
    if not rows:
        return HEAD + NONE
    return HEAD + "\n| method | path | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _meaning(operation: dict[str, Any]) -> str:
    text = operation.get("description") or operation.get("summary") or ""
    return str(text).strip().partition("\n")[0].replace("|", "\\|")

"""The table of generated pages, and how they are written and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tools.docs import families, flags, json_schema, modules, not_supported, requirements, routes

ROOT = Path(__file__).resolve().parents[2]

# Page -> what makes its text.
PAGES: dict[str, Callable[[], str]] = {
    "docs/map.md": lambda: modules.page(ROOT / "src" / "vllm_mlx"),
    "docs/reference/families.md": lambda: families.page(ROOT / "tests" / "parity" / "families.json"),
    "docs/reference/flags.md": flags.page,
    "docs/reference/json-schema.md": json_schema.page,
    "docs/reference/not-supported.md": not_supported.page,
    "docs/reference/routes.md": routes.page,
    "docs/requirements.md": lambda: requirements.page(ROOT / "tests"),
}


def write() -> None:
    """Write every page."""
    for path, make in PAGES.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(make(), encoding="utf-8")


def stale() -> list[str]:
    """The pages whose file does not hold what would be written now."""
    return [path for path, make in PAGES.items() if _text(ROOT / path) != make()]


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None

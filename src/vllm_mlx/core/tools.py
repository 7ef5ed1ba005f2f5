"""What a model may call, and whether it must."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class ToolSpec(msgspec.Struct, frozen=True):
    """A function the model may call; `parameters` is a JSON Schema object."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False


class ToolChoice(msgspec.Struct, frozen=True):
    """`auto`, `none`, `required`, or `named` with the function's name.

    Attributes:
        allowed: the only tools that the request leaves to the model, where others than its own may come; None
            for all.
    """

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None
    allowed: tuple[str, ...] | None = None

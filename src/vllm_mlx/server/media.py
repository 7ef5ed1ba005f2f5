"""Content that is no text, as long as no model here reads any: how it is refused, and what stands for it."""

from __future__ import annotations

from typing import Final

TEXT_ONLY: Final = "this model takes text only"


def placeholder(kind: str) -> str:
    """What the model reads where a tool's result has an image or a file.

    A program sends on what its tool brought: refusing that would end the session, while the model, told what
    is missing, can go on. What a user shows is refused: the answer would be about something nobody read.
    """
    return f"[{kind}: {TEXT_ONLY}]"

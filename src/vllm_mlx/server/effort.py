"""How much to think, in the words that chat templates know."""

from __future__ import annotations

from typing import Literal

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""Every word of the vendors, least first."""

_TOLD: dict[Effort, str] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}


def told_effort(effort: Effort) -> str:
    """The template's variable `reasoning_effort`: low, medium or high, which is all that models learn."""
    return _TOLD.get(effort, "high")

"""The running text of an answer or a thought, without the line breaks that belong to the markup."""

from __future__ import annotations

from collections.abc import Callable

from vllm_mlx.core.events import ReasoningDelta, TextDelta


class Voice:
    """One of the two kinds of running text, and the line breaks it ends with so far.

    Line breaks beside a tag are markup: they are shown only if the same kind of text stood before them and
    goes on after them.
    """

    def __init__(self, event: Callable[..., ReasoningDelta | TextDelta]) -> None:
        self.event = event
        self.said = False
        self.fresh = True  # nothing but line breaks since the last tag
        self._breaks = 0
        self._beside_tag = False

    def meet_tag(self) -> None:
        """Markup stands here."""
        self._beside_tag = True
        self.fresh = True

    def say(self, text: str) -> str:
        """What of the text can be shown by now, after what waited before it."""
        body = text.rstrip("\n")
        if not body:
            self._breaks += len(text)
            return ""
        start = body.lstrip("\n")
        breaks = self._breaks + len(body) - len(start)
        self._breaks = len(text) - len(body)
        shown = start if self._beside_tag and not self.said else "\n" * breaks + start
        self.said = True
        self.fresh = self._beside_tag = False
        return shown

    def finish(self) -> str:
        """The line breaks that still wait, where they are the text's own."""
        breaks, self._breaks = self._breaks, 0
        return "" if self._beside_tag else "\n" * breaks

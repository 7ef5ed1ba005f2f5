"""Names and other texts of clients as errors tell them: cut, listed, and those that stand there twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

_SHOWN: Final = 8
_CHARS: Final = 50
"""Of one of them: an error repeats no more than a line of names."""


def shorten(text: str, chars: int = 100) -> str:
    """Text from the client, cut to what an error message may repeat."""
    return text if len(text) <= chars else text[:chars] + "..."


def listed(names: Collection[str]) -> str:
    """`'a', 'b', ... and 5 more`; "none" where there are none."""
    shown = ", ".join(repr(shorten(name, _CHARS)) for name in islice(names, _SHOWN))
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "none"


def repeated(names: Iterable[str]) -> str | None:
    """The first name that stands there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None

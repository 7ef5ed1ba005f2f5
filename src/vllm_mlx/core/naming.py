"""Names as errors tell them: those that there are, and one that stands there twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

_SHOWN: Final = 8
_CHARS: Final = 50
"""Of one name. Names may come from a client, and an error repeats no more than a line of them."""


def listed(names: Collection[str]) -> str:
    """`'a', 'b', ... and 5 more`; "none" where there are none."""
    shown = ", ".join(map(_quoted, islice(names, _SHOWN)))
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


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _CHARS else name[:_CHARS] + "...")

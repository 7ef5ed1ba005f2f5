"""How long the shortest text of a regular expression is, more or less: what repeats too often is refused."""

from __future__ import annotations

import re

from vllm_mlx.core.errors import InvalidRequest

MAX_REPEATED = 100_000
"""The library unrolls what must be repeated; a million of it takes seconds, and nested counts multiply."""

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\{(?P<least>\d{1,18})(?:,\d*)?\}|.", re.DOTALL)


def check_repeats(pattern: str) -> None:
    """Refuse a pattern that must repeat something over `MAX_REPEATED` times.

    Raises:
        InvalidRequest: it does. Whether it is a proper pattern is not looked at.
    """
    sizes = [0]  # of each open group, so far
    last = 0  # of the latest atom
    for found in _TOKEN.finditer(pattern):
        text, least = found.group(), found.group("least")
        if least is not None:
            sizes[-1] += last * max(int(least) - 1, 0)
            last *= max(int(least), 1)
        elif text == "(":
            sizes.append(0)
            last = 0
        elif text == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif text not in "|*+?)":
            last = 1
            sizes[-1] += 1
        if sizes[-1] > MAX_REPEATED:
            raise InvalidRequest(f"the pattern repeats something over {MAX_REPEATED} times")

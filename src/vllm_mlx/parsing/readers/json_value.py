"""Finds the end of a JSON value while it is being written, without reading a character twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from vllm_mlx.parsing.arguments import LONE_SURROGATE
from vllm_mlx.parsing.source import Source, Waits

_STRUCTURE = re.compile(r'["{}\[\]<]')
_STRUCTURE_OR_END = re.compile(r'["{}\[\]<, \t\r\n]')
_IN_STRING = re.compile(r'["\\\n]')
_IN_BROKEN_STRING = re.compile(r'["\\<]')


class _Scan:
    """Where a value stands.

    A raw line break is not allowed in a JSON string; once one is seen, the quote is probably missing and a
    closing tag may end the string.
    """

    def __init__(self, depth: int = 0) -> None:
        self.done = False
        self._depth = depth
        self._in_string = False
        self._broken_string = False
        self._escaped = False
        self._begun = False

    def scan(self, text: str, at: int) -> int:
        """Returns the index up to which the text belongs to the value: its end, or a "<" that may end it."""
        while at < len(text) and not self.done:
            end = self._string(text, at) if self._in_string else self._outside(text, at)
            if end < 0:
                return -end - 1
            at = end
        return at

    def _string(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        found = (_IN_BROKEN_STRING if self._broken_string else _IN_STRING).search(text, at)
        if found is None:
            return len(text)
        char = found.group()
        if char == "<":
            return -found.start() - 1
        if char == "\\":
            self._escaped = True
        elif char == "\n":
            self._broken_string = True
        else:
            self._in_string = self._broken_string = False
            self.done = self._depth == 0
        return found.end()

    def _outside(self, text: str, at: int) -> int:
        found = (_STRUCTURE if self._depth else _STRUCTURE_OR_END).search(text, at)
        if found is None:
            self._begun = True
            return len(text)
        char = found.group()
        if char == "<":
            self._begun = True  # the value goes on with it, or ends here
            return -found.start() - 1
        if self._depth == 0 and (self._begun or found.start() > at):
            self.done = True  # the end of a number or a word; what follows is not part of it
            return found.start()
        self._begun = True
        if char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        else:
            self._depth -= 1
            self.done = self._depth <= 0
        return found.end()


def read_value(
    source: Source, tell: Callable[[str], None], closing: Sequence[str], *, inside: bool = False
) -> Waits[bool]:
    """Tell a value as it comes.

    Args:
        inside: an object's brace has been read; what comes is the rest of it.
        closing: tags that end a broken value; those that begin with "<" count outside strings, and inside
            one that has a raw line break.

    Returns:
        Whether the value is complete.
    """
    tags = [tag for tag in closing if tag[0] == "<"]
    scan = _Scan(depth=int(inside))
    while (yield from source.more()):
        end = scan.scan(source.text, source.at)
        if end > source.at:
            piece, source.at = source.text[source.at : end], end
            tell(piece)
        if scan.done:
            return True
        if end < len(source.text):
            if (yield from source.ahead(tags)) or source.ends_within(tags):
                return False
            source.at += 1
            tell("<")
    return False


def decoded(raw: str) -> object:
    """The JSON value, or None where it is none; a text without what no answer could carry."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value

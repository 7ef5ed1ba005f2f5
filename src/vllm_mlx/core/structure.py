"""How deep and how wide a JSON text is: bounded before it is parsed, and found without parsing it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

from vllm_mlx.core.errors import InvalidRequest

MAX_NESTING = 64
TOO_MANY_VALUES = "too_many_values"
MAX_VALUES = 2**20
"""Parsing is one C call during which nobody else is served; a million token ids take it 60 ms."""
MAX_BRANCHES = 2**17
"""Arrays, objects and pairs in objects together: each costs as much as ten numbers, to parse and again when
the chat template writes a tool's schema."""

_BRANCHING = (b"[", b"{", b":")
_BRACKETS = b"[]{}"
_NO_MARKS = bytes(set(range(256)) - set(_BRACKETS + b'",:'))
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")
_STRING = re.compile(rb'"[^"]*"?')
_SLICE = 256 * 1024


def check_structure(body: bytes) -> None:
    """Refuse what would take too long to parse, in time linear in the body and without building a value.

    Args:
        body: a JSON text, or anything else; whether it is one is the parser's to say.

    Raises:
        InvalidRequest: by its marks outside strings it nests deeper than `MAX_NESTING`, branches more often
            than `MAX_BRANCHES` or holds more than `MAX_VALUES` values.
    """
    # Characters in strings count here too, so this can only clear a body.
    if _branches(body) <= MAX_NESTING and body.count(b",") < MAX_VALUES:
        return
    depth, branches, commas = 0, 0, 0
    for marks in _outside_strings(body):
        branches += _branches(marks)
        commas += marks.count(b",")
        # An array of n values has n - 1 commas; so has an object of n pairs.
        if branches > MAX_BRANCHES or commas >= MAX_VALUES:
            raise InvalidRequest(
                f"The JSON holds more than {MAX_VALUES} values, or {MAX_BRANCHES} arrays, objects and pairs.",
                code=TOO_MANY_VALUES,
            )
        steps = marks.translate(_STEPS, b",:")
        if max(accumulate(memoryview(steps).cast("b"), initial=depth)) > MAX_NESTING:
            raise InvalidRequest(f"The JSON nests deeper than {MAX_NESTING} levels.", code="nesting_too_deep")
        depth += steps.count(b"\x01") - steps.count(b"\xff")


def _branches(text: bytes) -> int:
    return sum(text.count(mark) for mark in _BRANCHING)


def _outside_strings(body: bytes) -> Iterator[bytes]:
    """The brackets, commas and colons in no string; in slices, because a C call lets no other thread run."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes in a row open and close, or close and open: without them, all else is where it was.
    marks = unescaped.translate(None, _NO_MARKS).replace(b'""', b"")
    in_string = False
    for start in range(0, len(marks), _SLICE):
        piece = marks[start : start + _SLICE]
        yield _STRING.sub(b"", b'"' + piece if in_string else piece)
        in_string ^= piece.count(b'"') % 2 == 1

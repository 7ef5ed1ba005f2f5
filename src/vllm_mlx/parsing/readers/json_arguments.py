"""Reads a call's arguments, a JSON object, and mends texts that stand where the tool wants something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vllm_mlx.parsing.arguments import Argument, Arguments
from vllm_mlx.parsing.readers.json_value import decoded, read_value
from vllm_mlx.parsing.source import SPACE, Source, Waits, read_whole


def read_arguments(
    source: Source, tell: Callable[[str], None], closing: Sequence[str], schema: dict[str, Any] | None
) -> Waits[bool]:
    """The same as `read_value`, but for members of the object whose schema allows no text.

    A text in such a place (`"days": "3"`, an object that was encoded twice) waits for its end and gets the
    type that is wanted, if it can be read so. All else passes through as it is written.
    """
    arguments = Arguments(schema)
    if (yield from source.peek()) != "{" or not arguments.have_one_without_text():
        return (yield from read_value(source, tell, closing))
    source.at += 1
    tell("{")
    while True:
        char = yield from _after_space(source, tell)
        if char == ",":
            source.at += 1
            tell(char)
        elif char == "}":
            source.at += 1
            tell(char)
            return True
        elif char != '"' or not (yield from _read_member(source, tell, closing, arguments)):
            return (yield from read_value(source, tell, closing, inside=True))


def typed_arguments(text: str, schema: dict[str, Any] | None) -> str:
    """Arguments that are complete before their tool is known, as `read_arguments` would have told them."""
    parts: list[str] = []
    rest = read_whole(text, lambda source: read_arguments(source, parts.append, (), schema))
    return "".join((*parts, rest))


def _read_member(
    source: Source, tell: Callable[[str], None], closing: Sequence[str], arguments: Arguments
) -> Waits[bool]:
    """A key, its colon and its value; returns whether that is what stood there, to its end."""
    parts: list[str] = []
    complete = yield from read_value(source, parts.append, closing)
    tell("".join(parts))
    if not complete or (yield from _after_space(source, tell)) != ":":
        return False
    source.at += 1
    tell(":")
    key = decoded("".join(parts))
    wanted = arguments.of(key) if isinstance(key, str) else Argument(None)
    char = yield from _after_space(source, tell)
    if char in ("", ",", "}"):
        return False
    if char != '"' or not wanted.takes_no_text():
        return (yield from read_value(source, tell, closing))
    text: list[str] = []
    complete = yield from read_value(source, text.append, closing)
    tell(wanted.typed_json("".join(text)) if complete else "".join(text))
    return complete


def _after_space(source: Source, tell: Callable[[str], None]) -> Waits[str]:
    space = yield from source.span(SPACE)
    if space:
        tell(space)
    return (yield from source.peek())

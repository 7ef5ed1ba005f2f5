"""Reads `call:name{key:value,...}` with quotes of the family's own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from vllm_mlx.parsing.arguments import Arguments
from vllm_mlx.parsing.readers.json_value import decoded
from vllm_mlx.parsing.readers.loose import read_loose
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.source import NoCall, Source, Waits
from vllm_mlx.parsing.syntax import BraceCalls

_NAME = re.compile(r"[^\s{<]*")
_NAME_LIMIT = 256
_BETWEEN = re.compile(r"[ \t\r\n,)\]]*")
"""Commas, and brackets that close nothing: a value ends before them, so whoever reads on must pass them."""


def read_brace_call(
    source: Source, sink: CallSink, syntax: BraceCalls, closing: Sequence[str]
) -> Waits[None]:
    """One call; its arguments are told as JSON while they come.

    A string is told at its end where the tool wants something else in its place, so that it gets that type.
    """
    name = yield from source.span(_NAME, _NAME_LIMIT)
    yield from source.skip()
    if not name or (yield from source.peek()) != "{":
        raise NoCall
    sink.begin(name)
    source.at += 1
    arguments = Arguments(sink.schema(name))
    quotes = (syntax.quote, '"')
    opening = "{"
    while True:
        yield from source.skip(_BETWEEN)
        char = yield from source.peek()
        if not char or (char == "<" and (yield from _ends(source, syntax, closing))):
            return
        if char == "}":
            source.at += 1
            sink.write("}" if opening == ", " else "{}")
            return
        key = yield from _collected(source, quotes, closing)
        key = key if key[:1] == '"' else json.dumps(key, ensure_ascii=False)
        sink.write(f"{opening}{key}")
        opening = ", "
        yield from source.skip()
        if not (yield from source.literal(":", "=")):
            continue
        sink.write(": ")
        wanted = arguments.of(str(decoded(key)))
        if not wanted.known or wanted.only_text():
            yield from read_loose(source, sink.write, quotes, closing)
        else:
            sink.write(wanted.typed_json((yield from _collected(source, quotes, closing))))


def _ends(source: Source, syntax: BraceCalls, closing: Sequence[str]) -> Waits[bool]:
    """Whether the call ends here although its brace is missing, and not with a quote that begins alike."""
    if (yield from source.ahead((syntax.quote,))):
        return False
    return bool((yield from source.ahead(closing))) or source.ends_within(closing)


def _collected(source: Source, quotes: Sequence[str], closing: Sequence[str]) -> Waits[str]:
    parts: list[str] = []
    yield from read_loose(source, parts.append, quotes, closing)
    return "".join(parts)

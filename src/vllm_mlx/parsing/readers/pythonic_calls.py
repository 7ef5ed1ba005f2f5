"""Reads `name(key=value, ...)`."""

from __future__ import annotations

import json
import re

from vllm_mlx.parsing.readers.loose import PYTHON_QUOTES, read_loose, word_to_json
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.source import NoCall, Source, Waits

_NAME = re.compile(r"[\w.\-]*")
_NAME_LIMIT = 256


def read_pythonic_call(source: Source, sink: CallSink, *, bare: bool) -> Waits[None]:
    """One call; its arguments are told as JSON, one after the other.

    Arguments without a name get those of the tool's parameters, in their order.
    """
    name = yield from source.span(_NAME, _NAME_LIMIT)
    if not name or (bare and not sink.knows(name)) or not (yield from source.literal("(")):
        raise NoCall
    sink.begin(name)
    places = iter((sink.schema(name) or {}).get("properties") or ())
    opening = "{"
    while True:
        yield from source.skip()
        if (yield from source.literal(")")):
            sink.write("}" if opening == ", " else "{}")
            return
        word = yield from source.span(_NAME)
        yield from source.skip()
        if word and (yield from source.literal("=")):
            sink.write(f"{opening}{json.dumps(word, ensure_ascii=False)}: ")
            yield from read_loose(source, sink.write, PYTHON_QUOTES)
        else:
            yield from _read_place(source, sink, opening, next(places, None), word)
        opening = ", "
        yield from source.skip()
        if not (yield from source.literal(",")) and (yield from source.peek()) != ")":
            raise NoCall


def _read_place(source: Source, sink: CallSink, opening: str, key: str | None, word: str) -> Waits[None]:
    """An argument without a name, of which a word may have been read."""
    if key is None or not (yield from source.peek()):
        raise NoCall
    sink.write(f"{opening}{json.dumps(key, ensure_ascii=False)}: ")
    if word:
        sink.write(word_to_json(word))
    else:
        yield from read_loose(source, sink.write, PYTHON_QUOTES)

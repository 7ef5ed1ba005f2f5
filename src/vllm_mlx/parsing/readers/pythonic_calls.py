"""Reads `name(key=value, ...)`."""

from __future__ import annotations

import json
import re

from vllm_mlx.parsing.arguments import Argument, Arguments
from vllm_mlx.parsing.readers.loose import PYTHON_QUOTES, read_loose, word_to_json
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.source import NoCall, Source, Waits

_NAME = re.compile(r"[\w.\-]*")
_NAME_LIMIT = 256
_BARE_WORDS = re.compile(r"[^,()\[\]\n]*")
_QUOTES_AND_BRACKETS = frozenset("\"'([{")


def read_pythonic_call(source: Source, sink: CallSink, *, bare: bool) -> Waits[None]:
    """One call; its arguments are told as JSON, one after the other.

    Arguments without a name get those of the tool's parameters, in their order. A string is told while it
    comes, unless the tool wants something else in its place: `days="3"` becomes a number at its end.
    """
    name = yield from source.span(_NAME, _NAME_LIMIT)
    if not name or (bare and not sink.knows(name)) or not (yield from source.literal("(")):
        raise NoCall
    sink.begin(name)
    schema = sink.schema(name)
    arguments, places = Arguments(schema), iter((schema or {}).get("properties") or ())
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
            yield from _read_value(source, sink, arguments.of(word))
        else:
            yield from _read_place(source, sink, opening, next(places, None), word)
        opening = ", "
        yield from source.skip()
        if not (yield from source.literal(",")):
            char = yield from source.peek()
            if char != ")" and not char.isidentifier():  # some forget the comma
                raise NoCall


def _read_value(source: Source, sink: CallSink, wanted: Argument) -> Waits[None]:
    """An argument's value; several words that nobody quoted are one string."""
    yield from source.skip()
    char = yield from source.peek()
    if char and char not in _QUOTES_AND_BRACKETS:
        words = (yield from source.span(_BARE_WORDS)).strip()
        text = wanted.only_text() and words not in ("None", "null")
        sink.write(json.dumps(words, ensure_ascii=False) if text else wanted.typed_json(word_to_json(words)))
    elif not wanted.known or wanted.only_text():
        yield from read_loose(source, sink.write, PYTHON_QUOTES)
    else:
        parts: list[str] = []
        yield from read_loose(source, parts.append, PYTHON_QUOTES)
        sink.write(wanted.typed_json("".join(parts)))


def _read_place(source: Source, sink: CallSink, opening: str, key: str | None, word: str) -> Waits[None]:
    """An argument without a name, of which a word may have been read."""
    if key is None or not (yield from source.peek()):
        raise NoCall
    sink.write(f"{opening}{json.dumps(key, ensure_ascii=False)}: ")
    if word:
        sink.write(word_to_json(word))
    else:
        yield from read_loose(source, sink.write, PYTHON_QUOTES)

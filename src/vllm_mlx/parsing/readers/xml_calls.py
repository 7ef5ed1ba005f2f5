"""Reads a name and then tagged arguments, one after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from vllm_mlx.parsing.arguments import Argument, Arguments
from vllm_mlx.parsing.format import split_tags
from vllm_mlx.parsing.readers.json_value import read_value
from vllm_mlx.parsing.readers.loose import escaped
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.source import NoCall, Source, Waits, markers
from vllm_mlx.parsing.syntax import XmlCalls

_NAME = re.compile(r"[^\s<>\"']*")
_KEY = re.compile(r"[^\n<>\"']*")
_ATTRIBUTES = re.compile(r"[^<>\n]*")
_LIMIT = 256


def read_xml_call(source: Source, sink: CallSink, syntax: XmlCalls, closing: Sequence[str]) -> Waits[None]:
    """One call, from its name on; each argument is told as JSON once its type is known.

    A string flows while it is written. Of anything else the type follows from the tool's schema or, without
    one, from the text, so it waits for its end.
    """
    name = yield from source.span(_NAME, _LIMIT)
    yield from _read_rest_of_tag(source, syntax.after_name)
    yield from source.skip()
    key_tag = syntax.before_key.strip()
    if name and (yield from source.peek()) == "{":  # some write all arguments as one JSON object
        sink.begin(name)
        yield from read_value(source, sink.write, closing)
        return
    if not name or not (yield from source.ahead((key_tag, *closing))):
        raise NoCall
    sink.begin(name)
    arguments = Arguments(sink.schema(name))
    opening = "{"
    while True:
        yield from source.skip()
        if not (yield from source.literal(key_tag)):
            break
        key = (yield from source.span(_KEY, _LIMIT)).strip()
        attributes = yield from _read_rest_of_tag(source, syntax.after_key)
        if not (yield from source.peek()):
            sink.write(f'{opening}"{escaped(key)}')
            return
        sink.write(f"{opening}{json.dumps(key, ensure_ascii=False)}: ")
        opening = ", "
        typed, wanted = bool(syntax.after_json_key), arguments.of(key)
        text = 'string="true"' in attributes if typed else wanted.only_text()
        yield from _read_argument(source, sink, syntax, None if text else wanted)
    if (yield from source.peek()):
        sink.write("}" if opening == ", " else "{}")


def _read_rest_of_tag(source: Source, text: str) -> Waits[str]:
    """What stands between a name or key and what belongs to it. Returns the attributes that were in it."""
    if ">" in text and "<" not in text:
        attributes = yield from source.span(_ATTRIBUTES, _LIMIT)
        yield from source.literal(">")
        return attributes
    for tag in split_tags(text):
        yield from source.skip()
        yield from source.literal(tag)
    return ""


def _read_argument(source: Source, sink: CallSink, syntax: XmlCalls, wanted: Argument | None) -> Waits[None]:
    """The value up to its closing tag: a string while it comes (`wanted` is None), or by its schema."""
    close = syntax.after_value.strip()
    if syntax.raw_open and (yield from source.literal(syntax.raw_open)):
        ends = markers(syntax.raw_close + close)
    elif syntax.after_key.endswith("\n"):
        yield from source.literal("\n")
        ends = markers("\n" + close, close)
    else:
        ends = markers(close)
    if wanted is None:
        sink.write('"')
        found = yield from source.until(ends, lambda text: sink.write(escaped(text)))
        source.at += len(found)
        if found:
            sink.write('"')
        return
    parts: list[str] = []
    found = yield from source.until(ends, parts.append)
    source.at += len(found)
    # Cut off: what there is goes out as the string it is so far.
    sink.write(wanted.json_text("".join(parts)) if found else f'"{escaped("".join(parts))}')

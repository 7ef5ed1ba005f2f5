"""Reads a name and then tagged arguments, one after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from vllm_mlx.parsing.arguments import Argument, Arguments
from vllm_mlx.parsing.format import split_tags
from vllm_mlx.parsing.readers.elements import read_element
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
    _, ended = yield from _read_rest_of_tag(source, syntax.after_name)
    if not ended:
        raise NoCall
    yield from source.skip()
    key_tag = syntax.before_key.strip()
    if name and (yield from source.peek()) == "{":  # some write all arguments as one JSON object
        sink.begin(name)
        yield from read_value(source, sink.write, closing)
        return
    if not name or not (yield from source.ahead((key_tag, *closing))):
        raise NoCall
    if syntax.namespaced and not sink.knows(name):
        space, _, tool = name.partition(".")
        name = tool if space == tool and sink.knows(tool) else name
    sink.begin(name)
    arguments = Arguments(sink.schema(name))
    opening = "{"
    while True:
        yield from source.skip()
        if (yield from source.ahead((key_tag, *closing))) != key_tag or source.ends_within(closing):
            break
        source.at += len(key_tag)
        key = (yield from source.span(_KEY, _LIMIT)).strip()
        attributes, _ = yield from _read_rest_of_tag(source, syntax.after_key)
        if not (yield from source.peek()):
            sink.write(f'{opening}"{escaped(key)}')
            return
        sink.write(f"{opening}{json.dumps(key, ensure_ascii=False)}: ")
        opening = ", "
        wanted = arguments.of(key)
        text = wanted.only_text()
        if syntax.after_json_key:  # the model says which it is, but the tool may take none
            text = _attributes(syntax.after_key) in attributes and not wanted.takes_no_text()
        if syntax.inner_mark and not text:
            sink.write((yield from read_element(source, syntax.inner_mark, key, wanted)))
        else:
            yield from _read_argument(source, sink, syntax, key, None if text else wanted)
    if (yield from source.peek()):
        sink.write("}" if opening == ", " else "{}")


def _read_rest_of_tag(source: Source, text: str) -> Waits[tuple[str, bool]]:
    """What stands between a name or key and what belongs to it.

    Returns:
        The attributes that were in it, and whether a tag that holds such has ended.
    """
    if text[:1] == '"' or (">" in text and "<" not in text):
        attributes = yield from source.span(_ATTRIBUTES, _LIMIT)
        end = yield from source.literal(text.strip().rpartition('"')[2])
        return attributes, bool(end)
    for tag in split_tags(text):
        yield from source.skip()
        yield from source.literal(tag)
    return "", True


def _attributes(text: str) -> str:
    """The attributes in what follows a quoted key."""
    return text.rpartition('"')[0].removeprefix('"').strip() + '"'


def _read_argument(
    source: Source, sink: CallSink, syntax: XmlCalls, key: str, wanted: Argument | None
) -> Waits[None]:
    """The value up to its closing tag: a string while it comes (`wanted` is None), or by its schema."""
    close = syntax.after_value.strip().replace("{key}", key)
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

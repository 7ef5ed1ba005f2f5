"""Reads a name in some markup of its own, then the arguments as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from vllm_mlx.parsing.readers.json_arguments import read_arguments
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.source import NoCall, Source, Waits
from vllm_mlx.parsing.syntax import HeaderCalls, fill

_HEADER = re.compile(r"[^{]*")
_HEADER_LIMIT = 512
_NAME = re.compile(r"[\w.\-/]+")
_TAG = re.compile(r"<[^<>]*>|\[[A-Z_]+\]")
_WORD = re.compile(r"\w+")
_STRANGE_WORDS = 1
"""Between name and arguments, besides tags: an id or a language, as some families write. More is prose."""


def read_header_call(
    source: Source, sink: CallSink, syntax: HeaderCalls, closing: Sequence[str]
) -> Waits[None]:
    """A header of at most 512 characters up to the arguments' brace, then the arguments as they come."""
    header = yield from source.span(_HEADER, _HEADER_LIMIT)
    name = _name(syntax, header)
    if not name or not (yield from source.peek()):
        raise NoCall
    sink.begin(name)
    yield from read_arguments(source, sink.write, closing, sink.schema(name))


def _name(syntax: HeaderCalls, header: str) -> str:
    """The name as the syntax places it; with strange markup behind it, as far as it looks like a name."""
    header = header.strip()
    before = _pattern(syntax.before_name).match(header)
    header = header[before.end() :] if before is not None else header
    exact = re.fullmatch(rf"(.+?)\s*{_pattern(syntax.after_name).pattern}", header)
    if exact is not None and _NAME.fullmatch(exact[1]):
        return exact[1]
    found = _NAME.match(header)
    if found is None or len(_WORD.findall(_TAG.sub(" ", header[found.end() :]))) > _STRANGE_WORDS:
        return ""
    return found.group()


@lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    """A text as it may stand in a header, with an id of any kind."""
    return re.compile(
        "".join(fill(text.strip(), lambda held: r"[^<>]*" if held == "{id}" else r"\d+", re.escape))
    )

"""Reads the header of a labelled part, and the call that it may announce."""

from __future__ import annotations

import re
from typing import Literal

from vllm_mlx.parsing.readers.block import plan_of, read_run
from vllm_mlx.parsing.readers.json_arguments import read_arguments
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.source import NoCall, Source, Waits, markers
from vllm_mlx.parsing.syntax import Channels

_HEADER_LIMIT = 512


def read_header(
    source: Source, sink: CallSink, channels: Channels, *, tools: bool
) -> Waits[Literal["thought", "answer", "call"]]:
    """Read a header from after its open tag on, and after it a whole call if it announces one.

    Returns:
        What the header announces.

    Raises:
        NoCall: it is no header, or announces a call where none is wanted.
    """
    parts: list[str] = []
    ends = markers(channels.header_end, *channels.closes)
    found = yield from source.until(ends, parts.append, _HEADER_LIMIT)
    if found != channels.header_end:
        raise NoCall
    source.at += len(found)
    header = "".join(parts)
    call = re.search(channels.call, header)
    if call is None:
        if re.search(channels.thought, header):
            return "thought"
        if re.search(channels.answer, header):
            return "answer"
        raise NoCall
    if not tools:
        raise NoCall
    if channels.body is not None:
        yield from source.skip()
        trigger = yield from source.literal(*plan_of(channels.body).triggers)
        if not trigger:
            raise NoCall
        yield from read_run(source, sink, (channels.body,), trigger)
    elif channels.object_only:
        yield from source.skip()
        if (yield from source.peek()) != "{":
            raise NoCall
        sink.begin(call[1])
        tags = (*channels.opens, *channels.closes)
        yield from read_arguments(source, sink.write, tags, sink.schema(call[1]))
    else:
        sink.begin(call[1])
        yield from _read_arguments(source, sink, channels, call[1])
    return "call"


def _read_arguments(source: Source, sink: CallSink, channels: Channels, name: str) -> Waits[None]:
    """The arguments as the model writes them, up to the next tag; none at all are an empty object."""
    said = False

    def write(text: str) -> None:
        nonlocal said
        said = said or bool(text.strip())
        sink.write(text)

    yield from source.skip()
    tags = (*channels.opens, *channels.closes)
    if (yield from source.peek()) == "{":
        yield from read_arguments(source, write, tags, sink.schema(name))
    yield from source.until(markers(*tags), write)
    if not said:
        sink.write("{}")

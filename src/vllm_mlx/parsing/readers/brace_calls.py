"""Reads `call:name{key:value,...}` with quotes of the family's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vllm_mlx.parsing.readers.loose import read_loose
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.source import NoCall, Source, Waits
from vllm_mlx.parsing.syntax import BraceCalls

_NAME = re.compile(r"[^\s{<]*")
_NAME_LIMIT = 256


def read_brace_call(
    source: Source, sink: CallSink, syntax: BraceCalls, closing: Sequence[str]
) -> Waits[None]:
    """One call; its arguments are told as JSON while they come."""
    name = yield from source.span(_NAME, _NAME_LIMIT)
    yield from source.skip()
    if not name or (yield from source.peek()) != "{":
        raise NoCall
    sink.begin(name)
    yield from read_loose(source, sink.write, (syntax.quote, '"'), closing)

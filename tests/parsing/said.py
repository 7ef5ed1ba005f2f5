"""Runs a parser over pieces of text and joins what it says, so that two runs can be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

from vllm_mlx.core.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.stream import OutputParser

Said = tuple[str, ...]


def said(events: Sequence[Event]) -> list[Said]:
    """The events with neighbouring deltas of one kind joined."""
    out: list[tuple[str, list[str]]] = []  # joined at the end: one by one a megabyte takes its square
    for event in events:
        match event:
            case TextDelta(text=text):
                kind, part = "text", text
            case ReasoningDelta(text=text):
                kind, part = "thought", text
            case ToolCallStart(index=index, name=name, id=call_id):
                out.append(("call", [str(index), name, call_id]))
                continue
            case ToolCallDelta(index=index, arguments=arguments):
                kind, part = f"arguments {index}", arguments
            case _:
                raise AssertionError(event)
        if out and out[-1][0] == kind:
            out[-1][1].append(part)
        else:
            out.append((kind, [part]))
    return [(kind, *parts) if kind == "call" else (kind, "".join(parts)) for kind, parts in out]


def parse(
    pieces: Sequence[str],
    fmt: OutputFormat,
    *,
    thinking: bool = False,
    tools: Sequence[ToolSpec] | None = (),
    has_form: bool = False,
) -> list[Said]:
    """What the parser says of the pieces, call ids counted from `id0`."""
    ids = count()
    parser = OutputParser(
        fmt, thinking=thinking, tools=tools, has_form=has_form, new_id=lambda: f"id{next(ids)}"
    )
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(piece)
    return said(events + parser.finish())


def values(what: Sequence[Said]) -> list[list[Any]]:
    """The same with each call's name and arguments as one value: `["call", NAME, {...}]`."""
    out: list[list[Any]] = []
    for one in what:
        if one[0] == "call":
            out.append(["call", one[2], ""])
        elif one[0].startswith("arguments"):
            out[-1][2] = json.loads(one[1])
        else:
            out.append(list(one))
    return out

"""Reads a run of tool calls from its opening tag to its closing one, whatever the syntax of the calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from vllm_mlx.parsing.format import split_tags
from vllm_mlx.parsing.readers.brace_calls import read_brace_call
from vllm_mlx.parsing.readers.header_calls import read_header_call
from vllm_mlx.parsing.readers.json_calls import read_json_call
from vllm_mlx.parsing.readers.pythonic_calls import read_pythonic_call
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.readers.xml_calls import read_xml_call
from vllm_mlx.parsing.source import NoCall, Source, Waits
from vllm_mlx.parsing.syntax import (
    BraceCalls,
    CallSyntax,
    HeaderCalls,
    JsonCalls,
    PythonicCalls,
    XmlCalls,
    varies,
)

_FENCE = "```"  # says no more than that code follows
_LIST = re.compile(r"[ \t\r\n\[]*")


class Plan(NamedTuple):
    """A syntax as the reader of runs wants it.

    Attributes:
        opening: the tags in front of a run's first call: the block's, the call's, the one before its name.
        before_call: how many of them, from the end on, stand in front of every call.
        closing: the tags behind a call or a run.
        call_end: the last tag behind a call, which ends the run where no block stands around it.
        block_end: the last tag behind the block.
    """

    opening: tuple[str, ...]
    before_call: int
    closing: tuple[str, ...]
    call_end: str
    block_end: str

    @property
    def triggers(self) -> tuple[str, ...]:
        """Tags that begin a run: the first one, and those of single calls whose block's tag is missing."""
        return tuple(
            tag for at, tag in enumerate(self.opening) if at == 0 or (tag[0] in "<]" and len(tag) > 4)
        )


@lru_cache(maxsize=256)
def plan_of(syntax: CallSyntax) -> Plan:
    """The plan for a syntax; a run without any tag has no triggers."""
    before_name = "" if isinstance(syntax, JsonCalls | PythonicCalls) else syntax.before_name.lstrip()
    before_name = "" if varies(before_name) else before_name
    split = str.split if syntax.glued else split_tags
    call = tuple(tag for tag in (*split(syntax.call_open), before_name) if tag)
    opening = tuple(tag for tag in split(syntax.block_open) if tag not in "[{") + call
    call_close, block_close = split(syntax.call_close), split(syntax.block_close)
    return Plan(
        opening=opening,
        before_call=len(call),
        closing=tuple(dict.fromkeys((*call_close, *block_close))),
        call_end=call_close[-1] if call_close else "",
        block_end=block_close[-1] if block_close else "",
    )


def fits(syntax: CallSyntax, char: str) -> bool:
    """Whether a call of this syntax can begin with this character, or a list's bracket before it."""
    match syntax:
        case JsonCalls():
            return char == "{"
        case PythonicCalls():
            return char.isidentifier()
        case XmlCalls(before_name=before) | HeaderCalls(before_name=before) | BraceCalls(before_name=before):
            return char == before[0] if before[:1] == "<" else char not in "{[<" or char == before[:1]


def read_run(source: Source, sink: CallSink, syntaxes: Sequence[CallSyntax], trigger: str) -> Waits[None]:
    """Read a run whose trigger has been read ("" if nothing marks it).

    Args:
        syntaxes: those that have this trigger; the next character tells them apart.

    Raises:
        NoCall: it is none, or it ends in something else; what was read and not told is unsettled text.
    """
    syntax = yield from _choose(source, syntaxes)
    plan = plan_of(syntax)
    entered = plan.opening.index(trigger) if trigger else -1
    pending = plan.opening[entered + 1 :]
    in_block = entered < len(plan.opening) - plan.before_call
    end = plan.block_end if in_block else plan.call_end
    calls_before = sink.calls
    while True:
        called = sink.calls > calls_before
        yield from source.skip(_between(syntax, plan, called))
        tag = yield from source.literal(*plan.closing)
        if tag:
            if tag != end:
                pending = plan.opening[len(plan.opening) - plan.before_call :]
                continue
            if not called:
                source.at -= len(tag)  # it may be the beginning of another
                raise NoCall
            source.settle()
            return
        if not (yield from source.peek()) or source.ends_within(plan.closing):
            if not called:
                raise NoCall
            source.at = len(source.text)
            source.settle()
            return
        for expected in pending:
            yield from source.literal(expected)
            yield from source.skip()
        if pending:
            yield from source.skip(_between(syntax, plan, called))
        if pending and not (yield from source.peek()):
            raise NoCall
        pending = ()
        yield from _read_call(source, sink, syntax, plan.closing, bare=trigger[:3] in ("", _FENCE))
        if (yield from source.more()):
            sink.end()
        if not plan.closing and isinstance(syntax, HeaderCalls):
            source.settle()  # each call has a trigger of its own, and nothing else would end the run
            return


def _choose(source: Source, syntaxes: Sequence[CallSyntax]) -> Waits[CallSyntax]:
    if len(syntaxes) > 1:
        yield from source.skip(_LIST)
        char = yield from source.peek()
        for syntax in syntaxes:
            if char and fits(syntax, char):
                return syntax
    return syntaxes[0]


@lru_cache(maxsize=256)
def _between(syntax: CallSyntax, plan: Plan, called: bool) -> re.Pattern[str]:
    """What may stand between calls without a meaning: white space, separators, brackets of a list.

    One closing brace too many is forgiven after a JSON call.
    """
    signs = " \t\r\n"
    if isinstance(syntax, JsonCalls | PythonicCalls):
        signs += ",;[]"
    if called and isinstance(syntax, JsonCalls):
        signs += "}"
    signs = "".join(sign for sign in signs if not any(tag.startswith(sign) for tag in plan.closing))
    return re.compile(f"[{re.escape(signs)}]*")


def _read_call(
    source: Source, sink: CallSink, syntax: CallSyntax, closing: Sequence[str], *, bare: bool
) -> Waits[None]:
    match syntax:
        case JsonCalls():
            yield from read_json_call(source, sink, syntax, closing, bare=bare)
        case HeaderCalls():
            yield from read_header_call(source, sink, syntax, closing)
        case XmlCalls():
            yield from read_xml_call(source, sink, syntax, closing)
        case PythonicCalls():
            yield from read_pythonic_call(source, sink, bare=bare)
        case BraceCalls():
            yield from read_brace_call(source, sink, syntax, closing)

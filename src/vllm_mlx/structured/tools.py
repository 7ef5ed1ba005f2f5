"""From the tools on offer to a grammar of the calls that a model may or must write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from msgspec.structs import replace

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.naming import listed, shorten
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.read_back import reads_back, unreadable
from vllm_mlx.parsing.readers.block import plan_of
from vllm_mlx.parsing.syntax import CallSyntax, HeaderCalls, JsonCalls, XmlCalls
from vllm_mlx.structured import lark
from vllm_mlx.structured.bodies import BodyWriter
from vllm_mlx.structured.grammar import Answer, answer_opening, part_opening, text_with
from vllm_mlx.structured.lark import SpecialId
from vllm_mlx.structured.loosening import Exactness

MAX_CALLS = 64
"""Calls of one answer where they are forced; a model that does not stop would go on to its last token."""


def calls_grammar(
    output_format: OutputFormat,
    tools: Sequence[ToolSpec],
    choice: ToolChoice,
    special_id: SpecialId,
    *,
    parallel: bool = True,
    answer: Answer | None = None,
    exactness: Exactness | None = "loose",
) -> str | None:
    """The grammar that tools and the choice among them ask for; None if they leave everything open.

    Where calls are required the text is calls from its first character. Where they are allowed and an answer
    has a form, the text is either. Otherwise text is free until a call opens.

    Args:
        answer: the form of an answer that is no call.
        exactness: how the schemas of tools that are not strict are read; None if their arguments may be any
            object.

    Raises:
        InvalidRequest: no such tool, a schema that cannot be enforced, or a format whose calls cannot be
            described.
    """
    forced = choice.mode in ("required", "named")
    if choice.mode == "none" or not (forced or answer or not parallel or any(tool.strict for tool in tools)):
        return None
    if choice.mode == "named":
        names = [tool.name for tool in tools]
        tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            raise InvalidRequest(
                f"tool_choice: there is no tool {choice.name!r}; the tools are: {listed(names)}",
                param="tool_choice",
            )
    if not tools:
        raise InvalidRequest("tool_choice: a call is required, but there are no tools", param="tool_choice")
    if not output_format.calls:
        raise _undescribed(output_format, "it has no calls")
    tools = [_writable(output_format, tool) if forced or tool.strict else tool for tool in tools]
    writer = BodyWriter(output_format, _opened(output_format.calls[0]), special_id)
    bodies = [writer.body(tool, f"tool_{i}", exactness) for i, tool in enumerate(tools)]
    rules = _calls(writer, bodies, parallel=parallel)
    if forced:
        return "\n".join(("start: calls", *rules))
    if answer is not None:
        opening = answer_opening(output_format, special_id)
        return "\n".join((f"start: calls | {opening} {answer.body}", *answer.terminals, *rules))
    if output_format.channels is not None:
        return _free_parts(writer, rules)
    if not plan_of(writer.syntax).triggers:
        return _text_or_calls(writer, rules)
    return _free_text(writer, bodies, parallel=parallel)


def _writable(output_format: OutputFormat, tool: ToolSpec) -> ToolSpec:
    """The tool without the arguments whose names the format cannot write.

    Raises:
        InvalidRequest: the tool is strict, or it is its own name that cannot be written.
    """
    if not reads_back(output_format, tool.name):
        raise InvalidRequest(
            f"tools: {shorten(tool.name)!r}: this model's output format ({output_format.name}) cannot write "
            "its name, so no call of it can be forced",
            param="tools",
        )
    schema, syntax = tool.parameters or {}, output_format.calls[0]
    properties = schema.get("properties")
    if isinstance(syntax, JsonCalls | HeaderCalls) or not isinstance(properties, dict):
        return tool  # JSON can write any name
    # Elements inside have their names outside of any JSON, too; other notations are looked at in `bodies`.
    nested = isinstance(syntax, XmlCalls) and bool(syntax.inner_mark)
    inside = {key: set(_properties([value])) if nested else set() for key, value in properties.items()}
    shared = set(_properties([schema.get("$defs"), schema.get("definitions")])) if nested else set()
    unread = unreadable(output_format, tool.name, chain(properties, *inside.values(), shared))
    all_odd = not unread.isdisjoint(shared)
    odd = [key for key in properties if all_odd or key in unread or not unread.isdisjoint(inside[key])]
    if not odd:
        return tool
    if tool.strict:
        raise InvalidRequest(
            f"tools: {shorten(tool.name)!r} cannot be strict with this model's output format "
            f"({output_format.name}): no grammar of it can have an argument named {shorten(odd[0])!r}, or "
            "the names inside it",
            param="tools",
        )
    gone, required = set(odd), schema.get("required")
    left: dict[str, Any] = {
        "properties": {key: value for key, value in properties.items() if key not in gone}
    }
    if isinstance(required, list):  # of whatever, for nobody has looked at the schema yet
        left["required"] = [key for key in required if not (isinstance(key, str) and key in gone)]
    return replace(tool, parameters={**schema, **left})


def _properties(schemas: list[Any]) -> Iterator[str]:
    """The names of all properties anywhere in them."""
    while schemas:
        schema = schemas.pop()
        if isinstance(schema, list):
            schemas += schema
        elif isinstance(schema, dict):
            if isinstance(named := schema.get("properties"), dict):
                yield from named
            schemas += schema.values()


def _opened(syntax: CallSyntax) -> CallSyntax:
    """The same texts, where what stands before a name opens the call if nothing else does."""
    if isinstance(syntax, HeaderCalls | XmlCalls) and not (syntax.block_open or syntax.call_open):
        return replace(syntax, call_open=syntax.before_name, before_name="")
    return syntax


def _calls(writer: BodyWriter, bodies: Sequence[str], *, parallel: bool) -> list[str]:
    """The rules of a run of calls, and those that they refer to."""
    syntax, mark = writer.syntax, writer.mark
    channels = writer.format.channels
    begun = channels is not None and channels.starts_inside
    # The prompt has written what opens the first call; some models repeat it.
    opening = f"({mark(syntax.call_open)})?" if begun else mark(syntax.call_open)
    body = f"({' | '.join(bodies)}) {mark(syntax.call_close)}"
    next_call = f" ({mark(syntax.separator)} {mark(syntax.call_open)} {body})"
    more = f"{next_call}{{0,{MAX_CALLS - 1}}}" if parallel else ""
    before = writer.format.answer_close
    closed = f"({mark(before)})? " if before else ""
    return [
        f"calls: {closed}{mark(syntax.block_open)} {opening} {body}{more} {mark(syntax.block_close)}",
        *writer.rules,
    ]


def _free_text(writer: BodyWriter, bodies: Sequence[str], *, parallel: bool) -> str:
    """Text in which each opening of calls is followed by calls."""
    syntax = writer.syntax
    opening = (syntax.block_open or syntax.call_open).rstrip()
    after = (syntax.block_open + syntax.call_open).removeprefix(opening)
    first = f"{writer.mark(after)} ({' | '.join(bodies)}) {writer.mark(syntax.call_close)}"
    rules = [f"first: {first}"]
    body = "first"
    if syntax.block_open:
        more = f"{writer.mark(syntax.separator + syntax.call_open)} ({' | '.join(bodies)})"
        rules.append(f"more: {more} {writer.mark(syntax.call_close)}")
        body += f"{' more*' if parallel else ''} {writer.mark(syntax.block_close)}"
    text = text_with([(opening, body)], writer.special_id, most=None if parallel else 1)
    return "\n".join((text, *rules, *writer.rules))


def _text_or_calls(writer: BodyWriter, rules: Sequence[str]) -> str:
    """Where nothing marks a call it begins the answer; text begins otherwise, as its reader has it."""
    bare = [syntax for syntax in writer.format.calls if not plan_of(syntax).triggers]
    firsts = "".join(sorted({syntax.block_open.strip()[:1] or "{" for syntax in bare}))
    start = f"start: calls | TEXT\nTEXT: /(?s:[ \\t\\r\\n]*([^ \\t\\r\\n{re.escape(firsts)}].*)?)/"
    return "\n".join((start, *rules))


def _free_parts(writer: BodyWriter, rules: Sequence[str]) -> str:
    """Free text in the parts that are no calls, and then perhaps calls."""
    channels = writer.format.channels
    assert channels is not None
    if not channels.aside_open:
        raise _undescribed(writer.format, "they begin like any text")
    rest, more = lark.text_until(channels.aside_close, "aside_text", writer.special_id)
    answer, aside = (
        part_opening(writer.format, text, writer.special_id)
        for text in (channels.answer_open, channels.aside_open)
    )
    start = f"start: aside* (calls | {answer} {lark.ANY_TEXT})"
    return "\n".join((start, f"aside: {aside} {rest}", *more, *rules))


def _undescribed(output_format: OutputFormat, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"tool_choice: calls in this model's output format ({output_format.name}) "
        f"cannot be put as a grammar; {reason}",
        param="tool_choice",
    )

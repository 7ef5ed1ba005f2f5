"""Reads `{"name": ..., "arguments": {...}}`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vllm_mlx.parsing.readers.json_arguments import read_arguments, typed_arguments
from vllm_mlx.parsing.readers.json_value import decoded, read_value
from vllm_mlx.parsing.readers.sink import CallSink
from vllm_mlx.parsing.source import NoCall, Source, Waits
from vllm_mlx.parsing.syntax import JsonCalls

_BETWEEN = re.compile(r"[ \t\r\n,]*")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_NAMES = ("name", "tool_name")
_WRAPPERS = ("function", "functionCall", "function_call")
_BESIDES = frozenset(("id", "type", "tool_call_id", "index"))


class _Call:
    """What is known of the object that is being read."""

    def __init__(self, syntax: JsonCalls) -> None:
        self.names = frozenset((syntax.name_key, *_NAMES))
        self.argument_keys = frozenset((syntax.arguments_key, *_ARGUMENTS))
        self.wrappers = frozenset((syntax.wrapper_key, *_WRAPPERS))
        self.name = ""
        self.arguments: str | None = None
        self.begun = False
        self.strange = False  # there are members that are neither name nor arguments

    def keep(self, key: str, raw: str) -> None:
        if key in self.names:
            name = decoded(raw)
            self.name = name if isinstance(name, str) else ""
        elif key in self.argument_keys:
            value = decoded(raw)
            self.arguments = value if isinstance(value, str) else "{}" if raw.strip() == "null" else raw
        elif key in self.wrappers:  # `"function": "name"` is written by some
            name = decoded(raw)
            self.name = self.name or (name if isinstance(name, str) else "")
        elif key not in _BESIDES:
            self.strange = True


def read_json_call(
    source: Source, sink: CallSink, syntax: JsonCalls, closing: Sequence[str], *, bare: bool
) -> Waits[None]:
    """One object, from its brace to its brace.

    Arguments that follow the name are passed on as they are written; whatever is wrong inside them is the
    model's, as with OpenAI. Those before it, or inside a string, are held back until the call is complete,
    since only its tool says which types they have. Members other than name and arguments are read and
    dropped. A model that forgets the last brace has still made its call.

    Args:
        closing: the tags that may follow.
        bare: no tag marks the call. It must then look like nothing else: a tool's name, no other members.
    """
    call = _Call(syntax)
    if not (yield from source.literal("{")):
        raise NoCall
    if not syntax.name_key:
        yield from _read_named_arguments(source, sink, call, closing, bare)
        return
    depth = 1
    while depth:
        yield from source.skip(_BETWEEN)
        char = yield from source.peek()
        if char == '"':
            depth += yield from _read_member(source, sink, call, closing, bare)
        elif char == "}":
            source.at += 1
            depth -= 1
        elif char and (yield from source.ahead(closing)):
            break
        elif call.begun and (not char or source.ends_within(closing)):
            return
        else:
            raise NoCall
    if not call.begun:
        if not call.name or (call.arguments is None and call.strange):
            raise NoCall
        _begin(sink, call, bare)
        sink.write(typed_arguments((call.arguments or "").strip() or "{}", sink.schema(call.name)))
    source.settle()


def _read_named_arguments(
    source: Source, sink: CallSink, call: _Call, closing: Sequence[str], bare: bool
) -> Waits[None]:
    """`NAME: {...}` and the brace after it, which a model may forget."""
    key: list[str] = []
    yield from source.skip()
    if (yield from source.peek()) != '"' or not (yield from read_value(source, key.append, closing)):
        raise NoCall
    name = decoded("".join(key))
    yield from source.skip()
    if not name or not isinstance(name, str) or not (yield from source.literal(":")):
        raise NoCall
    yield from source.skip()
    if (yield from source.peek()) != "{":
        raise NoCall
    call.name = name
    _begin(sink, call, bare)
    yield from read_arguments(source, sink.write, closing, sink.schema(name))
    yield from source.skip()
    yield from source.literal("}")
    source.settle()


def _read_member(
    source: Source, sink: CallSink, call: _Call, closing: Sequence[str], bare: bool
) -> Waits[int]:
    """Key, colon and value. Returns 1 if the value is an object whose members are the call's, else 0."""
    collected: list[str] = []
    if not (yield from read_value(source, collected.append, closing)):
        raise NoCall
    key = decoded("".join(collected))
    key = key if isinstance(key, str) else ""
    if bare and key not in call.names | call.argument_keys | call.wrappers | _BESIDES:
        raise NoCall
    yield from source.skip()
    if not (yield from source.literal(":")):
        raise NoCall
    yield from source.skip()
    char = yield from source.peek()
    if not char or char in "}],:<":
        raise NoCall
    if key in call.wrappers and char == "{":
        source.at += 1
        return 1
    if key in call.argument_keys and call.name and not call.begun and char in "{[":
        _begin(sink, call, bare)
        yield from read_arguments(source, sink.write, closing, sink.schema(call.name))
        return 0
    collected.clear()
    if not (yield from read_value(source, collected.append, closing)):
        raise NoCall
    call.keep(key, "".join(collected))
    return 0


def _begin(sink: CallSink, call: _Call, bare: bool) -> None:
    if bare and not sink.knows(call.name):
        raise NoCall
    call.begun = True
    sink.begin(call.name)

"""Writes tool calls the way a family does: the counterpart of the readers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_mlx.core.json_type import json_type
from vllm_mlx.parsing.syntax import (
    BraceCalls,
    CallSyntax,
    HeaderCalls,
    JsonCalls,
    NamedCalls,
    PythonicCalls,
    XmlCalls,
    fill,
)

Call = tuple[str, Mapping[str, Any]]
"""A tool's name and its arguments."""

_LIKE_MARKUP = frozenset("<&\n")


def write_calls(syntax: CallSyntax, calls: Sequence[Call]) -> str:
    """The calls as one run, to the letter as the syntax has them.

    Raises:
        ValueError: an argument cannot be written, because it holds the text that ends it.
    """
    bodies = (
        f"{syntax.call_open}{_body(syntax, name, arguments, index)}{syntax.call_close}"
        for index, (name, arguments) in enumerate(calls)
    )
    return f"{syntax.block_open}{syntax.separator.join(bodies)}{syntax.block_close}"


def _body(syntax: CallSyntax, name: str, arguments: Mapping[str, Any], index: int) -> str:
    match syntax:
        case JsonCalls():
            return _json_body(syntax, name, arguments, index)
        case HeaderCalls():
            return f"{_named(syntax, name, index)}{_json(arguments)}"
        case XmlCalls():
            parts = "".join(_xml_argument(syntax, key, value) for key, value in arguments.items())
            return f"{_named(syntax, name, index)}{parts}"
        case PythonicCalls():
            parts = ", ".join(f"{key}={_python(syntax, value)}" for key, value in arguments.items())
            return f"{name}({parts})"
        case BraceCalls():
            return f"{syntax.before_name}{name}{_braces(syntax, arguments)}"


def _named(syntax: NamedCalls, name: str, index: int) -> str:
    values = {"{index}": str(index), "{number}": str(index + 1), "{id}": f"{index:010d}"}
    return "".join(fill(syntax.around_name, values.__getitem__)).replace("{name}", name)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json_body(syntax: JsonCalls, name: str, arguments: Mapping[str, Any], index: int) -> str:
    if not syntax.name_key:
        return _json({name: arguments})
    members = {syntax.index_key: str(index)} if syntax.index_key else {}
    call = {**members, syntax.name_key: name, syntax.arguments_key: arguments}
    return _json({syntax.wrapper_key: call} if syntax.wrapper_key else call)


def _xml_argument(syntax: XmlCalls, key: str, value: Any) -> str:
    text = value if isinstance(value, str) else _json(value)
    after_value = syntax.after_value.replace("{key}", key)
    end = syntax.inner_mark or after_value.strip()
    if syntax.raw_open and isinstance(value, str) and not _LIKE_MARKUP.isdisjoint(value):
        if syntax.raw_close in text:
            raise ValueError(f"{syntax.raw_close!r} cannot be part of an argument")
        text = f"{syntax.raw_open}{text}{syntax.raw_close}"
    elif end in text:
        raise ValueError(f"{end!r} cannot be part of an argument")
    after_key = syntax.after_key if isinstance(value, str) else syntax.after_json_key or syntax.after_key
    return f"{syntax.before_key}{key}{after_key.replace('{type}', json_type(value))}{text}{after_value}"


def _python(syntax: PythonicCalls, value: Any) -> str:
    match value:
        case bool() | None:
            return _json(value) if syntax.json_words else repr(value)
        case Mapping():
            members = (f"{_json(key)}: {_python(syntax, one)}" for key, one in value.items())
            return "{" + ", ".join(members) + "}"
        case list() | tuple():
            return "[" + ", ".join(_python(syntax, one) for one in value) + "]"
    return _json(value)


def _braces(syntax: BraceCalls, value: Any) -> str:
    match value:
        case str():
            if syntax.quote in value:
                raise ValueError(f"{syntax.quote!r} cannot be part of an argument")
            return f"{syntax.quote}{value}{syntax.quote}"
        case Mapping():
            return "{" + ",".join(f"{key}:{_braces(syntax, one)}" for key, one in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(_braces(syntax, one) for one in value) + "]"
    return _json(value)

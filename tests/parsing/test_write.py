"""What is written in a family's way is read back as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parsing.said import parse, values

from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.syntax import BraceCalls, PythonicCalls, XmlCalls
from vllm_mlx.parsing.write import write_calls

WRITERS = {
    f"{fmt.name} {number}": (fmt, syntax)
    for fmt in {fmt.name: fmt for fmt in map(FORMATS.get, FORMATS)}.values()
    for number, syntax in enumerate(fmt.calls)
}
TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}

letters = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="<`"), max_size=8)
names = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | letters
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
calls_ = st.lists(st.tuples(names, st.dictionaries(names, anything, max_size=3)), min_size=1, max_size=3)


def spec(name: str, arguments: Mapping[str, Any]) -> ToolSpec:
    types = {key: {"type": TYPES[type(one)]} if one is not None else {} for key, one in arguments.items()}
    return ToolSpec(name, None, {"type": "object", "properties": types})


def read_back(fmt: OutputFormat, text: str, tools: list[ToolSpec]) -> list[list[Any]]:
    whole = parse([text], fmt, tools=tools)
    assert parse([text[at : at + 3] for at in range(0, len(text), 3)], fmt, tools=tools) == whole
    return values(whole)


@pytest.mark.requirement(65)
@pytest.mark.parametrize(("fmt", "syntax"), WRITERS.values(), ids=WRITERS.keys())
@settings(max_examples=15)
@given(calls=calls_)
def test_calls_are_read_back_as_they_were_written(
    fmt: OutputFormat, syntax: Any, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    # A tool has one schema, so each call has a tool of its own.
    calls = [(f"{name}_{place}", arguments) for place, (name, arguments) in enumerate(calls)]
    text = write_calls(syntax, calls)
    said = read_back(fmt, text, [spec(*call) for call in calls])
    assert said == [["call", name, arguments] for name, arguments in calls]


@pytest.mark.parametrize(
    ("fmt", "syntax"),
    [pair for pair in WRITERS.values() if isinstance(pair[1], XmlCalls | BraceCalls)],
    ids=[name for name, pair in WRITERS.items() if isinstance(pair[1], XmlCalls | BraceCalls)],
)
def test_what_would_end_an_argument_cannot_be_written(fmt: OutputFormat, syntax: Any) -> None:
    if isinstance(syntax, XmlCalls):
        end = f"<{syntax.raw_close}" if syntax.raw_close else syntax.after_value.strip()
    else:
        end = syntax.quote
    with pytest.raises(ValueError, match="cannot be part"):
        write_calls(syntax, [("f", {"a": f"x{end}y"})])


def test_python_and_json_words() -> None:
    call = [("f", {"a": [True, None, {"b": False}]})]
    assert write_calls(PythonicCalls(), call) == 'f(a=[True, None, {"b": False}])'
    assert write_calls(PythonicCalls(json_words=True), call) == 'f(a=[true, null, {"b": false}])'


def test_a_hermes_call_is_written_as_its_template_has_it() -> None:
    syntax = FORMATS.get("hermes").calls[0]
    arguments = {"q": "\u00fc"}
    body = json.dumps({"name": "f", "arguments": arguments}, ensure_ascii=False)
    assert write_calls(syntax, [("f", arguments)]) == f"<tool_call>\n{body}\n</tool_call>"

"""Markup thrown together at random: how the text is cut never matters, for any format."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parsing.said import parse

from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.write import write_calls

NAMES = sorted({FORMATS.get(name).name for name in FORMATS})
TOOLS = (ToolSpec("f", None, {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}}),)
PIECES = (
    *("\n", " ", "<", "</", "[", "]", "{", "}", "(", ")", ",", ":", "=", '"', "'", "\\", "```", "word", "1"),
    *(
        '{"name": "f", "arguments": ',
        '"parameters": {"a": "',
        '"name": "f"',
        "f(a='",
        "f",
        "a",
        "\\u00e9",
        ">",
    ),
)


@lru_cache
def fragments(name: str) -> tuple[str, ...]:
    fmt = FORMATS.get(name)
    calls = [write_calls(syntax, [("f", {"a": "x", "b": [1]})]) for syntax in fmt.calls[:3]]
    return (*PIECES, *sorted(fmt.markers()), *calls)


@pytest.mark.requirement(65)
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(data=st.data())
def test_random_markup_gives_the_same_events_however_it_is_cut(name: str, data: st.DataObject) -> None:
    fmt = FORMATS.get(name)
    text = "".join(data.draw(st.lists(st.sampled_from(fragments(name)), max_size=14)))
    thinking = data.draw(st.booleans())
    whole = parse([text], fmt, thinking=thinking, tools=TOOLS)
    assert parse(list(text), fmt, thinking=thinking, tools=TOOLS) == whole
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(pieces, fmt, thinking=thinking, tools=TOOLS) == whole

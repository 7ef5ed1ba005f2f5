"""Markup thrown together at random: how the text is cut never matters, for any format."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.limits import LIMIT_S
from tests.parsing.said import parse

from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.syntax import BraceCalls
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


@contextmanager
def ended() -> Iterator[None]:
    """Fail, and do not fill the memory, where a reader goes on for ever."""

    def fail(*_: object) -> None:
        raise AssertionError("the reader does not come to an end")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.requirement(65)
@pytest.mark.parametrize("name", NAMES)
def test_no_markup_keeps_a_reader_for_ever(name: str) -> None:
    fmt, chance = FORMATS.get(name), random.Random(name)
    marked = [piece for piece in fragments(name) if len(piece) > 3]
    for _ in range(300):
        call, at = chance.choice(marked), chance.randint(0, 60)
        pieces = [chance.choice(fragments(name)) for _ in range(chance.randint(1, 12))]
        text = call[:at] + "".join(pieces) + call[at:]
        with ended():
            parse([text], fmt, thinking=chance.random() < 0.3, tools=TOOLS)


BRACES = [name for name in NAMES if [type(syntax) for syntax in FORMATS.get(name).calls] == [BraceCalls]]


@pytest.mark.requirement(65)
@pytest.mark.parametrize("name", BRACES)
@pytest.mark.parametrize("bracket", [")", "]", ")]", ",)", "]:1)"])
def test_brackets_that_close_nothing_are_passed(name: str, bracket: str) -> None:
    fmt = FORMATS.get(name)
    (syntax,) = fmt.calls
    whole = write_calls(syntax, [("f", {"b": 1})])
    with ended():
        for at in range(len(whole)):
            parse([whole[:at] + bracket + whole[at:]], fmt, thinking=False, tools=TOOLS)
        said = parse([whole.replace("}", bracket.replace(":1", "") + "}")], fmt, thinking=False, tools=TOOLS)
    assert said == parse([whole], fmt, thinking=False, tools=TOOLS)

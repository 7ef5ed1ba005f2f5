"""Lists and objects that are elements inside elements, as MiniMax M3 writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.parsing.said import Said, parse

from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.registry import FORMATS

FORMAT = FORMATS.get("minimax_m3")
MARK = "]<]minimax[>["
POINT = {"type": "object", "properties": {"x": {"type": "number"}, "name": {"type": "string"}}}


def said(text: str, schema: dict[str, Any] | None) -> list[Said]:
    """What becomes of an element whose tags have no marks yet, however the text is cut."""
    properties = {} if schema is None else {"a": schema}
    tool = ToolSpec("f", None, {"type": "object", "properties": properties, "$defs": {"point": POINT}})
    output = f'<tool_call>\n<invoke name="f"><a>{text}</a></invoke>\n</tool_call>'.replace("<", f"{MARK}<")
    whole = parse([output], FORMAT, tools=[tool])
    assert parse(list(output), FORMAT, tools=[tool]) == whole
    return whole


def value(text: str, schema: dict[str, Any] | None) -> Any:
    return json.loads(said(text, schema)[1][1])["a"]


@pytest.mark.requirement(65)
@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ("<item>1</item><item>2</item>", {"type": "array", "items": {"type": "string"}}, ["1", "2"]),
        ("<item>1</item><item>b</item>", None, [1, "b"]),
        ("<b>1</b><c>2</c>", {"type": "array", "items": {"type": "integer"}}, {"b": 1, "c": 2}),
        ("<item>1</item>", {"type": "object", "properties": {"item": {"type": "string"}}}, {"item": "1"}),
        ("", {"type": "array"}, []),
        ("", {"type": "object"}, {}),
        ("", {"type": ["array", "string"]}, ""),
        ("", None, ""),
        ("[]", {"type": "array"}, []),
        ("<x>1</x><name>2</name>", {"$ref": "#/$defs/point"}, {"x": 1, "name": "2"}),
        (
            "<item><x>1</x><name>2</name></item><item><x>3</x></item>",
            {"type": "array", "items": {"$ref": "#/$defs/point"}},
            [{"x": 1, "name": "2"}, {"x": 3}],
        ),
        ("<a>1</a>", {"type": "object"}, {"a": 1}),
        ("<b>1</b><b>2</b>", {"type": "object"}, f"{MARK}<b>1{MARK}</b>{MARK}<b>2{MARK}</b>"),
        ("<b>", {"type": "object"}, f"{MARK}<b>"),
    ],
)
def test_elements_have_the_types_of_the_schema(
    text: str, schema: dict[str, Any] | None, expected: Any
) -> None:
    assert value(text, schema) == expected


@pytest.mark.requirement(65)
def test_elements_that_are_too_deep_stay_text() -> None:
    deep = "<b>" * 100 + "</b>" * 100
    assert value(deep, {"type": "object"}) == deep.replace("<", f"{MARK}<")


@pytest.mark.requirement(65)
@pytest.mark.parametrize("unit", ["<b>", "<a>", "</b>", "<item>1</item>"])
def test_the_work_grows_linearly_with_the_elements(
    unit: str, lines_executed: Callable[[Callable[[], object]], int]
) -> None:
    def work(n: int) -> int:
        return lines_executed(lambda: said(unit * n, None))

    assert work(160) <= 2.4 * work(80)


@pytest.mark.requirement(65)
def test_a_long_schema_is_looked_through_once_for_all_elements(
    lines_executed: Callable[[Callable[[], object]], int],
) -> None:
    def work(items: int, branches: int) -> int:
        either = {"type": "object", "additionalProperties": {"anyOf": [{}] * branches}}
        text = "<item><q>1</q></item>" * items
        return lines_executed(lambda: said(text, {"type": "array", "items": either}))

    def each(branches: int) -> int:
        return work(40, branches) - work(20, branches)

    assert each(400) <= 1.2 * each(4)
